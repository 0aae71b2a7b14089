/* The command line.
 *
 * Context: the main thread, before the others. */
#ifndef IPCFS_FS_OPTIONS_H
#define IPCFS_FS_OPTIONS_H

#include <fuse_lowlevel.h>

#include "fs/kernel/transport.h"
#include "mount.h"

enum exit_status {
    EXIT_STATUS_OK = 0,
    EXIT_STATUS_FAILED = 1,
    EXIT_STATUS_USAGE = 2,
};

struct options {
    struct fs_options fs;
    enum transport_choice transport;
    char *mountpoint;  /* absolute; NULL with help or version */
    char *store;       /* the directory that keeps mailboxes; NULL: nothing is kept */
    char *store_check; /* the directory that is to be looked into, and no more; or NULL */
    char *store_dump;  /* the same */
    int foreground;
    int debug;
    int help;
    int version;
    struct fuse_args session_args; /* what is for libfuse and the kernel */
};

/* Reads the command line; what is wrong with it is said in one line on stderr.
 * Return: an exit status; @options is to be freed in any case. */
enum exit_status options_parse(struct options *options, int argc, char *argv[]);
void options_free(struct options *options);

void options_print_help(void);

#endif
