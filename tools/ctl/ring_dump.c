#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "core/lib/ring_abi.h"
#include "quote.h"
#include "ring.h"
#include "ringarg.h"
#include "ringmap.h"

/* What is shown of a message in the table. */
#define PREVIEW_BYTES 40

struct options {
    struct common common;
    bool all;
    bool json;
    char *name;
};

enum { KEY_JSON = 0x100 };

static const struct argp_option option_list[] = {
    { "all", 'a', NULL, 0, "The free slots too, one by one" },
    { "json", KEY_JSON, NULL, 0, "A JSON object, with the messages whole" },
    { 0 },
};

static error_t dump_parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case 'a':
        options->all = true;
        return 0;
    case KEY_JSON:
        options->json = true;
        return 0;
    default:
        return ctl_parse_name(key, arg, state, &options->common, &options->name,
                              "say which ring: a NAME");
    }
}

static const struct argp argp = {
    .options = option_list,
    .parser = dump_parse,
    .args_doc = "NAME",
    .doc =
        "Show the header and the slots of a ring, from the next to be consumed on, and change nothing. NAME may "
        "also be the path of a map.\v"
        "A slot is free, full, claimed by the process that fills it, or skipped, when that died. Claims of the "
        "dead are marked.",
    .children = COMMON_CHILDREN,
};

static bool is_each(const struct ringmap *map)
{
    return map->flags & IPCRING_EACH_CONSUMER;
}

static const char *one_or_many(const struct ringmap *map, uint32_t flag)
{
    if (flag == IPCRING_ONE_CONSUMER && is_each(map))
        return "each";
    return map->flags & flag ? "one" : "many";
}

/* --- the table --- */

static void print_role(const struct ringmap *map, uint32_t flag, size_t at, const char *name)
{
    uint32_t id = ringmap_u32(map, at);
    AUTO_FREE char *shown = id ? ringmap_show_id(map, id) : xstrdup("nobody now");

    if (map->flags & flag)
        printf("%s: one, %s\n", name, shown);
    else
        printf("%s: %s\n", name, one_or_many(map, flag));
}

static void print_header(const struct ringmap *map, const char *shown, uint64_t head, uint64_t tail)
{
    uint32_t wait_data = ringmap_u32(map, IPCRING_AT_WAIT_DATA);
    uint32_t wait_space = ringmap_u32(map, IPCRING_AT_WAIT_SPACE);

    printf("%s, version %" PRIu32 ": %" PRIu32 " slots of %" PRIu32 " bytes%s\n", shown,
           map->version, map->slots, map->slot_bytes,
           wait_data & IPCRING_CLOSED ? ", removed" : "");
    print_role(map, IPCRING_ONE_PRODUCER, IPCRING_AT_PRODUCER, "producers");
    print_role(map, IPCRING_ONE_CONSUMER, IPCRING_AT_CONSUMER, "consumers");
    if (is_each(map))
        printf("head %" PRIu64 ": %" PRIu64 " held, from %" PRIu64 "\n", head, head - tail, tail);
    else
        printf("head %" PRIu64 ", tail %" PRIu64 ": %" PRIu64 " taken up\n", head, tail,
               head - tail);
    printf("asleep: %s\n", wait_data & wait_space & IPCRING_SLEEPERS ? "producers and consumers"
                           : wait_data & IPCRING_SLEEPERS            ? "consumers"
                           : wait_space & IPCRING_SLEEPERS           ? "producers"
                                                                     : "nobody");
}

static void print_message(const struct slot *slot)
{
    size_t n = slot->n_bytes < PREVIEW_BYTES ? slot->n_bytes : PREVIEW_BYTES;
    AUTO_FREE char *quoted = quote_bytes(slot->message, n);

    printf("%8zu  %s%s", slot->n_bytes, quoted, n < slot->n_bytes ? "..." : "");
}

static void print_slot(const struct ringmap *map, const struct slot *slot)
{
    printf("%8" PRIu32 "  %20" PRIu64 "  %-7s  ", slot->index, slot->pos, slot_states[slot->state]);
    if (slot->state == SLOT_FULL) {
        print_message(slot);
    } else if (slot->state == SLOT_CLAIMED) {
        AUTO_FREE char *shown = ringmap_show_id(map, slot->claimer);

        printf("%8s  by %s", "", shown);
    }
    putchar('\n');
}

static void dump_print_table(const struct ringmap *map, const char *shown, bool all)
{
    uint64_t tail = ringmap_first(map);
    uint64_t n_free = 0;

    print_header(map, shown, ringmap_u64(map, IPCRING_AT_HEAD), tail);
    printf("\n%8s  %20s  %-7s  %8s  MESSAGE\n", "SLOT", "POSITION", "STATE", "LENGTH");
    for (uint64_t pos = tail; pos != tail + map->slots; pos++) {
        struct slot slot;

        ringmap_slot(map, pos, &slot);
        if (slot.state == SLOT_FREE && !all)
            n_free++;
        else
            print_slot(map, &slot);
        free(slot.message);
    }
    if (n_free > 0)
        printf("%8s  %20s  %" PRIu64 " free\n", "", "", n_free);
}

/* --- JSON --- */

/* Beyond what a JSON number holds everywhere it is a string. */
static json_t *position(uint64_t pos)
{
    char text[24];

    if (pos <= INT64_MAX)
        return json_integer((json_int_t)pos);
    snprintf(text, sizeof(text), "%" PRIu64, pos);
    return json_string(text);
}

static json_t *process_json(const struct ringmap *map, uint32_t id)
{
    enum life life = ringmap_judge(map, id);

    return json_pack("{s:i, s:o}", "pid", (int)ringmap_pid(id), "lives",
                     life == LIFE_UNKNOWN ? json_null() : json_boolean(life == LIFE_LIVES));
}

static json_t *role_json(const struct ringmap *map, size_t at)
{
    uint32_t id = ringmap_u32(map, at);

    return id ? process_json(map, id) : json_null();
}

static json_t *slot_json(const struct ringmap *map, const struct slot *slot)
{
    json_t *json = json_pack("{s:I, s:o, s:s}", "slot", (json_int_t)slot->index, "position",
                             position(slot->pos), "state", slot_states[slot->state]);

    if (slot->state == SLOT_FULL) {
        json_object_set_new(json, "size", json_integer((json_int_t)slot->n_bytes));
        quote_json(json, "text", "base64", slot->message, slot->n_bytes);
    } else if (slot->state == SLOT_CLAIMED) {
        json_object_set_new(json, "claimer", process_json(map, slot->claimer));
    }
    return json;
}

static void dump_print_json(const struct ringmap *map, bool all)
{
    uint64_t tail = ringmap_first(map);
    uint32_t wait_data = ringmap_u32(map, IPCRING_AT_WAIT_DATA);
    uint32_t wait_space = ringmap_u32(map, IPCRING_AT_WAIT_SPACE);
    json_t *list = json_array();
    json_t *json = json_pack(
        "{s:I, s:I, s:I, s:s, s:s, s:o, s:o, s:o, s:o, s:b, s:b, s:b}", "version",
        (json_int_t)map->version, "slots", (json_int_t)map->slots, "slot_bytes",
        (json_int_t)map->slot_bytes, "producers", one_or_many(map, IPCRING_ONE_PRODUCER),
        "consumers", one_or_many(map, IPCRING_ONE_CONSUMER), "producer",
        role_json(map, IPCRING_AT_PRODUCER), "consumer", role_json(map, IPCRING_AT_CONSUMER),
        "head", position(ringmap_u64(map, IPCRING_AT_HEAD)), "tail", position(tail), "removed",
        (wait_data & IPCRING_CLOSED) != 0, "consumers_asleep", (wait_data & IPCRING_SLEEPERS) != 0,
        "producers_asleep", (wait_space & IPCRING_SLEEPERS) != 0);

    for (uint64_t pos = tail; pos != tail + map->slots; pos++) {
        struct slot slot;

        ringmap_slot(map, pos, &slot);
        if (slot.state != SLOT_FREE || all)
            json_array_append_new(list, slot_json(map, &slot));
        free(slot.message);
    }
    json_object_set_new(json, "list", list);
    json_dumpf(json, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(json);
}

static int dump(const struct ringarg *arg, const struct options *options)
{
    const char *wrong = NULL;
    struct ringmap map;
    int r = ringmap_open(arg->map, &map, &wrong);

    if (r == -EPROTO) {
        say("%s is none: %s", arg->shown, wrong);
    } else if (r < 0) {
        ringarg_say(arg, "look into", r);
    } else {
        if (options->json)
            dump_print_json(&map, options->all);
        else
            dump_print_table(&map, arg->shown, options->all);
        ringmap_close(&map);
    }
    return r;
}

static enum exit_status dump_run(const char *mount, int argc, char **argv)
{
    struct options options = { 0 };
    struct ringarg arg;
    int r;

    ctl_parse_args(&argp, mount, argc, argv, &options.common);
    ringarg_init(&arg, options.name, &options.common);
    r = dump(&arg, &options);
    ringarg_deinit(&arg);
    return r < 0 ? EXIT_STATUS_FAILED : EXIT_STATUS_OK;
}

const struct verb verb_ring_dump = { "dump", "Show the header and slots of a ring", &argp,
                                     dump_run };
