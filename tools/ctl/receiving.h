/* Receiving messages and printing them: what the verbs for mailboxes and for topics have in common. */
#ifndef IPCFS_TOOLS_CTL_RECEIVING_H
#define IPCFS_TOOLS_CTL_RECEIVING_H

#include <stdbool.h>

#include "ctl.h"
#include "object.h"

struct receiving_options {
    int64_t timeout_ns;
    uint64_t count;
    bool has_count;
    bool json;
    bool follow;     /* without end; count does not matter */
    bool one_handle; /* several messages come through one */
};

enum { RECEIVING_KEY_JSON = 0x100 };

/* What parsers do with --timeout, --count and --json. Return: as they: ARGP_ERR_UNKNOWN: it is another. */
error_t receiving_parse(int key, char *arg, struct argp_state *state,
                        struct receiving_options *options);

/* Receives from @object and prints, and says what went wrong. */
enum exit_status receiving_run(const struct object *object,
                               const struct receiving_options *options);

#endif
