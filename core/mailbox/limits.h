/* A mailbox's capacity and policy, and their text form: one key=value a line.
 *
 * messages=N       how many may wait; 0: rendezvous, a send ends when a receiver has the message;
 *                  max: no bound
 * bytes=SIZE       how much may wait, and the largest message
 * message_bytes=SIZE  the largest message of one write or line, at most MBOX_MESSAGE_BYTES_MAX
 * overflow=block|reject|drop-oldest   what a send to a full mailbox does
 * ttl=SECONDS     how long a message may wait, fractions too (nine digits); 0: for ever
 * attempts=N      how often a message comes back from lease (lease.h) before it is given up; 0: no bound
 * dead=NAME       which mailbox gets what is given up; empty: none
 * durable=no|daemon|disk   what a message survives, once its send has returned: nothing; the daemon's end; the
 *                  machine's. Where there is no store only the first can be had.
 *
 * Context: any thread; @limits is the caller's, or under the lock of its mailbox. Nothing blocks. */
#ifndef IPCFS_CORE_LIMITS_H
#define IPCFS_CORE_LIMITS_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/settings.h"

/* What surely comes in one FUSE WRITE of at most 1 MiB, however the caller's memory is aligned. */
#define MBOX_MESSAGE_BYTES_MAX 1044480

#define MBOX_MESSAGES_UNBOUNDED UINT64_MAX

/* Longest name of a mailbox. */
#define MBOX_NAME_BYTES_MAX 255

enum mbox_overflow {
    MBOX_OVERFLOW_BLOCK,
    MBOX_OVERFLOW_REJECT,
    MBOX_OVERFLOW_DROP_OLDEST,
};

enum mbox_durable {
    MBOX_DURABLE_NO,
    MBOX_DURABLE_DAEMON,
    MBOX_DURABLE_DISK,
};

struct mbox_limits {
    uint64_t messages;
    uint64_t bytes;
    uint64_t message_bytes;
    enum mbox_overflow overflow;
    enum mbox_durable durable;
    uint64_t ttl_ns;
    uint64_t attempts;
    char dead[MBOX_NAME_BYTES_MAX + 1];
};

#define MBOX_LIMITS_DEFAULT                                                                        \
    ((struct mbox_limits){                                                                         \
        .messages = 1024,                                                                          \
        .bytes = 16777216,                                                                         \
        .message_bytes = 65536,                                                                    \
        .overflow = MBOX_OVERFLOW_BLOCK,                                                           \
    })

/* Long enough for any text of mbox_limits_format. */
#define MBOX_LIMITS_TEXT_MAX 512

/* Takes the settings in @text, lines of key=value of which the last may lack its newline, into
 * @limits; keys that are not named stay. Empty lines are allowed.
 * Return: 0; -EINVAL: an unknown key, a bad value or no '='. On failure @limits is unchanged. */
int mbox_limits_parse(struct mbox_limits *limits, const char *text, size_t n);

/* Rows for another's table of settings (core/base/settings.h), whose object begins with a struct mbox_limits. */
#define MBOX_LIMITS_BYTES                                                                          \
    {                                                                                              \
        "bytes", mbox_limits_set_bytes, mbox_limits_get_bytes                                      \
    }
#define MBOX_LIMITS_MESSAGE_BYTES                                                                  \
    {                                                                                              \
        "message_bytes", mbox_limits_set_message_bytes, mbox_limits_get_message_bytes              \
    }
#define MBOX_LIMITS_DURABLE                                                                        \
    {                                                                                              \
        "durable", mbox_limits_set_durable, mbox_limits_get_durable                                \
    }

/* Of these rows. Return: 0; -EINVAL. */
int mbox_limits_set_bytes(void *limits, const char *value, size_t n);
int mbox_limits_set_message_bytes(void *limits, const char *value, size_t n);
int mbox_limits_set_durable(void *limits, const char *value, size_t n);
void mbox_limits_get_bytes(const void *limits, char value[SETTING_VALUE_MAX]);
void mbox_limits_get_message_bytes(const void *limits, char value[SETTING_VALUE_MAX]);
void mbox_limits_get_durable(const void *limits, char value[SETTING_VALUE_MAX]);

/* Writes the text form, ended by NUL. Return: its length. */
size_t mbox_limits_format(const struct mbox_limits *limits, char text[MBOX_LIMITS_TEXT_MAX]);

#endif
