#include "store_tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "core/store/store.h"
#include "core/store/store_check.h"
#include "core/store/store_dump.h"
#include "fs/mailbox/envelope.h"
#include "say.h"

static int store_tool_refuse(const char *path, const char *why, int error)
{
    say("store '%s': %s", path, why);
    return error;
}

int store_tool_check(const char *path)
{
    char why[STORE_WHY_MAX];
    struct store_census live;
    struct store_census disk;
    const struct store_census *used;
    int r = store_look(path, &live, &disk, why);

    if (r < 0)
        return store_tool_refuse(path, why, r);
    used = live.n_boxes ? &live : &disk;
    printf("mailboxes=%" PRIu64 "\ntopics=%" PRIu64 "\nsubscriptions=%" PRIu64 "\nmessages=%" PRIu64
           "\nbytes=%" PRIu64 "\nused_bytes=%" PRIu64 "\non_disk_messages=%" PRIu64
           "\non_disk_bytes=%" PRIu64 "\n",
           used->n_boxes - used->n_topics - used->n_subscriptions, used->n_topics,
           used->n_subscriptions, used->n_messages, used->n_message_bytes, live.n_used_bytes,
           disk.n_messages, disk.n_message_bytes);
    return 0;
}

static int print(const struct mbox_entry *entry, void *arg)
{
    struct envelope envelope;
    char text[4096];
    size_t n;

    (void)arg;
    envelope_init(&envelope, entry);
    while ((n = envelope_read(&envelope, text, sizeof(text))) > 0) {
        if (fwrite(text, 1, n, stdout) != n)
            return -EIO;
    }
    return 0;
}

int store_tool_dump(const char *path)
{
    char why[STORE_WHY_MAX];
    int r = store_dump(path, print, NULL, why);

    if (fflush(stdout) != 0 || ferror(stdout)) {
        r = -EIO;
        snprintf(why, sizeof(why), "can't be printed: the output takes no more");
    }
    return r < 0 ? store_tool_refuse(path, why, r) : 0;
}
