/* Sending one message, to a mailbox or a topic: what the verbs for either have in common. */
#ifndef IPCFS_TOOLS_CTL_SENDING_H
#define IPCFS_TOOLS_CTL_SENDING_H

#include "ctl.h"
#include "object.h"

#define SENDING_PRIO_UNSET (-1)

struct sending_options {
    struct common common; /* the first */
    int64_t timeout_ns;
    int prio;
    struct ctl_text given;
};

#define SENDING_OPTIONS_DEFAULT                                                                    \
    {                                                                                              \
        .timeout_ns = WAIT_FOREVER, .prio = SENDING_PRIO_UNSET                                     \
    }

/* For a verb's struct argp; its parser's input is a struct sending_options. */
extern const struct argp_option sending_option_list[];
error_t sending_parse(int key, char *arg, struct argp_state *state);

/* Sends the message that @options say to @object, and says what went wrong. */
enum exit_status sending_run(const struct object *object, const struct sending_options *options);

#endif
