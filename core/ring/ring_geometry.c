/* What `config` of a ring says of its geometry. A key is a row, which sets it and gets it. */
#include "ring_geometry.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

#include "core/base/settings.h"
#include "core/base/size.h"
#include "core/lib/ring_abi.h"

static int set_count(uint32_t *count, const char *value, size_t n,
                     int (*parse)(const char *text, size_t n, uint64_t *ret))
{
    uint64_t parsed;
    int r = parse(value, n, &parsed);

    if (r < 0 || parsed > UINT32_MAX)
        return -EINVAL;
    *count = (uint32_t)parsed;
    return 0;
}

static int set_slots(void *geometry, const char *value, size_t n)
{
    return set_count(&((struct ring_geometry *)geometry)->slots, value, n, count_parse);
}

static int set_slot_bytes(void *geometry, const char *value, size_t n)
{
    return set_count(&((struct ring_geometry *)geometry)->slot_bytes, value, n, size_parse);
}

static int set_flag(struct ring_geometry *geometry, uint32_t flag, const char *value, size_t n)
{
    bool one = settings_equal(value, n, "one");

    if (!one && !settings_equal(value, n, "many"))
        return -EINVAL;
    geometry->flags = one ? geometry->flags | flag : geometry->flags & ~flag;
    return 0;
}

static int set_producers(void *geometry, const char *value, size_t n)
{
    return set_flag(geometry, IPCRING_ONE_PRODUCER, value, n);
}

static int set_consumers(void *geometry, const char *value, size_t n)
{
    struct ring_geometry *of = geometry;
    bool each = settings_equal(value, n, "each");
    int r = each ? 0 : set_flag(of, IPCRING_ONE_CONSUMER, value, n);

    if (each)
        of->flags = (of->flags & ~IPCRING_ONE_CONSUMER) | IPCRING_EACH_CONSUMER;
    else if (r == 0)
        of->flags &= ~IPCRING_EACH_CONSUMER;
    return r;
}

static void get_slots(const void *geometry, char value[SETTING_VALUE_MAX])
{
    snprintf(value, SETTING_VALUE_MAX, "%" PRIu32, ((const struct ring_geometry *)geometry)->slots);
}

static void get_slot_bytes(const void *geometry, char value[SETTING_VALUE_MAX])
{
    snprintf(value, SETTING_VALUE_MAX, "%" PRIu32,
             ((const struct ring_geometry *)geometry)->slot_bytes);
}

static void get_flag(const struct ring_geometry *geometry, uint32_t flag,
                     char value[SETTING_VALUE_MAX])
{
    snprintf(value, SETTING_VALUE_MAX, "%s", geometry->flags & flag ? "one" : "many");
}

static void get_producers(const void *geometry, char value[SETTING_VALUE_MAX])
{
    get_flag(geometry, IPCRING_ONE_PRODUCER, value);
}

static void get_consumers(const void *geometry, char value[SETTING_VALUE_MAX])
{
    const struct ring_geometry *of = geometry;

    if (of->flags & IPCRING_EACH_CONSUMER)
        snprintf(value, SETTING_VALUE_MAX, "each");
    else
        get_flag(of, IPCRING_ONE_CONSUMER, value);
}

/* In the order in which they are written. */
static const struct setting geometry_settings[] = {
    { "slots", set_slots, get_slots },
    { "slot_bytes", set_slot_bytes, get_slot_bytes },
    { "producers", set_producers, get_producers },
    { "consumers", set_consumers, get_consumers },
};

#define N_GEOMETRY_SETTINGS (sizeof(geometry_settings) / sizeof(geometry_settings[0]))

int ring_geometry_parse(struct ring_geometry *geometry, const char *text, size_t n)
{
    return settings_parse(geometry_settings, N_GEOMETRY_SETTINGS, geometry, text, n);
}

size_t ring_geometry_format(const struct ring_geometry *geometry, char text[RING_CONFIG_MAX])
{
    return settings_format(geometry_settings, N_GEOMETRY_SETTINGS, geometry, text, RING_CONFIG_MAX);
}
