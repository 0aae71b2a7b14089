#include "ringarg.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "core/lib/ring_abi.h"
#include "mount.h"
#include "quote.h"
#include "ringmap.h"
#include "why.h"

void ringarg_init(struct ringarg *ring, const char *arg, const struct common *common)
{
    struct stat st;

    /* A ring is a directory; what is none, or not there, is read as a map. */
    *ring = (struct ringarg){
        .in_mount = !object_is_path(arg) || (stat(arg, &st) == 0 && S_ISDIR(st.st_mode)),
    };
    if (!ring->in_mount) {
        AUTO_FREE char *quoted = quote(arg, true);

        ring->map = xstrdup(arg);
        ring->shown = xasprintf("ring %s", quoted);
        return;
    }
    if (common->mount)
        mount_check(common->mount);
    object_init(&ring->object, common->mount, arg, ROOM_RING);
    if (ring->object.room != ROOM_RING)
        die(EXIT_STATUS_USAGE, "%s is no ring", ring->object.shown);
    ring->map = object_file(&ring->object, "map");
    ring->shown = xstrdup(ring->object.shown);
}

void ringarg_deinit(struct ringarg *ring)
{
    free(ring->map);
    free(ring->shown);
    if (ring->in_mount)
        object_deinit(&ring->object);
}

/* A ring for one has one who does this already. */
static void say_taken(const struct ringarg *ring, const char *doing)
{
    const char *wrong;
    struct ringmap ringmap;
    uint32_t producer;
    uint32_t consumer;

    if (ringmap_open(ring->map, &ringmap, &wrong) < 0) {
        say("can't %s %s: another process does", doing, ring->shown);
        return;
    }
    producer = ringmap_u32(&ringmap, IPCRING_AT_PRODUCER);
    consumer = ringmap_u32(&ringmap, IPCRING_AT_CONSUMER);
    if (strcmp(doing, "put into") == 0 && producer) {
        AUTO_FREE char *shown = ringmap_show_id(&ringmap, producer);

        say("can't %s %s: it has one producer, %s", doing, ring->shown, shown);
    } else if (strcmp(doing, "get from") == 0 && consumer) {
        AUTO_FREE char *shown = ringmap_show_id(&ringmap, consumer);

        say("can't %s %s: it has one consumer, %s", doing, ring->shown, shown);
    } else {
        say("can't %s %s: another process does", doing, ring->shown);
    }
    ringmap_close(&ringmap);
}

void ringarg_say(const struct ringarg *ring, const char *doing, int r)
{
    if (r == -EIDRM)
        say("%s is gone: it was removed, or made anew with other settings", ring->shown);
    else if (r == -EPROTO)
        say("can't %s %s: its map is no ring, or damaged", doing, ring->shown);
    else if (r == -EBUSY)
        say_taken(ring, doing);
    else if (ring->in_mount)
        why_say(&ring->object, doing, "map", -r);
    else
        say("can't %s %s: %s", doing, ring->shown, strerror(-r));
}
