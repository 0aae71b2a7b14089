/* How far a long pipeline has got, on stderr: only where that is a terminal, and after two seconds. */
#ifndef IPCFS_TOOLS_CTL_PROGRESS_H
#define IPCFS_TOOLS_CTL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool is_wanted;
    bool is_shown;
    int64_t start_ns;
    int64_t last_ns; /* when it was shown last, or begun */
    uint64_t n_messages;
    uint64_t n_bytes;
};

void progress_start(struct progress *progress);
void progress_add(struct progress *progress, uint64_t n_messages, uint64_t n_bytes);

/* Leaves the last figures on a line of their own, if any were shown. */
void progress_end(struct progress *progress);

#endif
