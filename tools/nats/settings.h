/* What the bridge was told: options, and the lines of its file or arguments.
 *
 * A line is `export MAILBOX SUBJECT`, `import SUBJECT MAILBOX [DURABLE]`, `topic TOPIC SUBJECT`, or an option's long name and its
 * value (`server nats://a`); `#` begins a comment. */
#ifndef IPCFS_TOOLS_NATS_SETTINGS_H
#define IPCFS_TOOLS_NATS_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mapping_kind { MAPPING_EXPORT, MAPPING_IMPORT, MAPPING_TOPIC };

struct mapping {
    enum mapping_kind kind;
    char *name; /* of the mailbox or topic */
    char *subject;
    char *durable; /* NULL: made from the mailbox's name */
};

struct settings {
    char *servers; /* URLs, with commas between them */
    char *mount;
    char *host;   /* what origin-host says; this machine's name if nobody says another */
    char *domain; /* of JetStream; NULL: none */
    char *user;
    char *password;
    char *creds;
    char *tls_ca;
    char *tls_cert;
    char *tls_key;
    int64_t replicas;
    int64_t window;       /* messages in flight, for each mapping */
    int64_t duplicates_s; /* of streams that are made here */
    int64_t max_age_s;    /* the same; 0: for ever */
    bool is_status;       /* show what a running bridge says, and end */
    struct mapping *mappings;
    size_t n_mappings;
};

/* Reads the program's arguments and the file that they name. Ends the program with one line and status 2 where one
 * is wrong, 1 where the file can't be read. */
void settings_parse(struct settings *settings, int argc, char **argv);
void settings_deinit(struct settings *settings);

#endif
