/* `metrics` is read as anybody's scraper would: a line of a family without labels is its name, a blank, its value. */
#include "kept.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "human.h"
#include "util.h"

struct kept {
    uint64_t n_used_bytes;
    uint64_t n_map_bytes;
    uint64_t n_messages;
    uint64_t n_mailboxes;
    uint64_t n_failures;
    bool is_there;
    char *error; /* of the last failure; NULL: there was none */
};

static void kept_take_line(struct kept *kept, const char *line)
{
    static const char failure[] = "ipcfs_store_last_failure_seconds{error=\"";
    uint64_t *const values[] = { &kept->n_used_bytes, &kept->n_map_bytes, &kept->n_messages,
                                 &kept->n_mailboxes, &kept->n_failures };
    static const char *const names[] = { "ipcfs_store_used_bytes ", "ipcfs_store_map_bytes ",
                                         "ipcfs_store_messages ", "ipcfs_store_mailboxes ",
                                         "ipcfs_store_failures_total " };

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        if (strncmp(line, names[i], strlen(names[i])) == 0) {
            *values[i] = strtoull(line + strlen(names[i]), NULL, 10);
            kept->is_there = true;
        }
    }
    if (strncmp(line, failure, strlen(failure)) == 0) {
        line += strlen(failure);
        free(kept->error);
        kept->error = xasprintf("%.*s", (int)strcspn(line, "\""), line);
    }
}

static void read_kept(struct kept *kept, const char *mount)
{
    AUTO_FREE char *path = xasprintf("%s/.ipcfs/metrics", mount);
    FILE *metrics = fopen(path, "re");
    char *line = NULL;
    size_t size = 0;

    if (!metrics)
        return;
    while (getline(&line, &size, metrics) > 0)
        kept_take_line(kept, line);
    free(line);
    fclose(metrics);
}

char *kept_line(const char *mount)
{
    struct kept kept = { 0 };
    AUTO_FREE char *error = NULL;
    AUTO_FREE char *failures = NULL;
    char used[HUMAN_MAX];
    char map[HUMAN_MAX];

    read_kept(&kept, mount);
    error = kept.error;
    if (!kept.is_there)
        return NULL;
    human_number((double)kept.n_used_bytes, 1024, used);
    human_number((double)kept.n_map_bytes, 1024, map);
    failures = error ? xasprintf(", %" PRIu64 " failure%s, the last: %s", kept.n_failures,
                                 kept.n_failures == 1 ? "" : "s", error)
                     : xstrdup("");
    return xasprintf("store: %" PRIu64 " message%s kept in %" PRIu64 " mailbox%s, %s of %s used%s",
                     kept.n_messages, kept.n_messages == 1 ? "" : "s", kept.n_mailboxes,
                     kept.n_mailboxes == 1 ? "" : "es", used, map, failures);
}
