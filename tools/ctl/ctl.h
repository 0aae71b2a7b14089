/* ipcctl's verbs, and how they read their arguments.
 *
 * argp, of the C library, reads them: it gives all verbs --help, long options and the same way to
 * complain, and needs no package. */
#ifndef IPCFS_TOOLS_CTL_CTL_H
#define IPCFS_TOOLS_CTL_CTL_H

#include <argp.h>
#include <stdint.h>

#include "util.h"

struct verb {
    const char *name;
    const char *summary; /* one line, for ipcctl help */
    const struct argp *argp;
    /* Reads its own arguments, @argv[0] being "ipcctl VERB". @mount: where option -m before the verb
     * said; NULL: nowhere. */
    enum exit_status (*run)(const char *mount, int argc, char **argv);
    /* Or it has verbs of its own, up to a NULL, and neither argp nor run. */
    const struct verb *const *verbs;
};

/* The verbs of ipcctl are listed in main.c; each is a file that defines its struct verb. */

/* Options that all verbs have: a child of each verb's argp. Its input is a struct common, which has
 * the mount from before the verb in it. */
struct common {
    const char *mount;
};

extern const struct argp common_argp;

/* For a verb's struct argp, and its ARGP_KEY_INIT. */
#define COMMON_CHILDREN                                                                            \
    (const struct argp_child[])                                                                    \
    {                                                                                              \
        { &common_argp, 0, NULL, 0 },                                                              \
        {                                                                                          \
            NULL, 0, NULL, 0                                                                       \
        }                                                                                          \
    }

/* Parses with @argp, whose parser's input is @options; ends the program where they are wrong.
 * @mount: from before the verb. */
void ctl_parse_args(const struct argp *argp, const char *mount, int argc, char **argv,
                    struct common *options);

/* Return: the mount to work on. Ends the program where there is none. */
const char *ctl_mount(const struct common *options);

/* ctl_parse_args(). Return: the mount that -m named, which is there; NULL: none, and it is found with the first
 * object, which a path may name (object_init). */
const char *ctl_parse(const struct argp *argp, const char *mount, int argc, char **argv,
                      struct common *options);

/* What parsers do with the keys that are not theirs alone. @missing: what is said where there is no argument;
 * NULL: then there need not be one. Of one NAME, and of a list. */
error_t ctl_parse_name(int key, char *arg, struct argp_state *state, struct common *common,
                       char **name, const char *missing);
error_t ctl_parse_list(int key, struct argp_state *state, struct common *common, char ***args,
                       int *n_args, const char *missing);

/* What a verb for one message was given. */
struct ctl_text {
    char *name;
    char *text;
    const char *file;
};

/* What parsers of NAME [TEXT] or --file do with those, and with the keys that are not theirs alone. @thing: what the text
 * is. */
error_t ctl_parse_text(int key, char *arg, struct argp_state *state, struct common *common,
                       struct ctl_text *given, const char *thing, const char *missing);

/* For parsers: reads numbers, or complains and ends the program. */
int64_t ctl_timeout(const struct argp_state *state, const char *text);
uint64_t ctl_number(const struct argp_state *state, const char *what, const char *text,
                    uint64_t min, uint64_t max);

#endif
