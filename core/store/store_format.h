/* What a store's two databases hold, to the byte: ipcfs-store(5) says the same for others.
 *
 * Both have one table. A key begins with a letter that tells what it is of; numbers in keys are big-endian, so that
 * keys sort by them, and in values little-endian. Each value begins with a checksum of its key and of what follows.
 *
 * Context: any thread; nothing here is kept. */
#ifndef IPCFS_CORE_STORE_FORMAT_H
#define IPCFS_CORE_STORE_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

/* Raised by each change that an older program would misread. */
#define STORE_FORMAT_VERSION 2

enum store_table {
    STORE_INFO = 'i',       /* a letter: what is of the store as a whole (enum store_info) */
    STORE_NAME = 'n',       /* a box: what it is, and its name */
    STORE_ATTRIBUTES = 'a', /* a box: owners and modes, as text */
    STORE_CONFIG = 'c',     /* a box: its config, as text */
    STORE_MESSAGE =
        'm', /* a box and a sequence number: a message that waits; of a topic: one that was published */
    STORE_HISTORY =
        'h', /* the same of a topic: it is in the history; nothing behind the checksum */
    STORE_TO_DO =
        't', /* a transaction and a number: a key of this table that the disk's copy lacks */
};

enum store_info {
    STORE_INFO_VERSION = 'v', /* STORE_FORMAT_VERSION */
    STORE_INFO_IDS = 'i',     /* no message has had an id above this */
    STORE_INFO_MOUNT = 'm',   /* the mount's id, as text */
};

/* What stands under STORE_NAME. */
enum store_kind {
    STORE_KIND_MAILBOX = 0,
    STORE_KIND_TOPIC = 1,
    STORE_KIND_SUBSCRIPTION = 2,
};

/* Where a message stands. */
struct store_place {
    uint64_t box;
    uint64_t seq;
};

#define STORE_KEY_BYTES_MAX 17

struct store_key {
    size_t n_bytes;
    unsigned char bytes[STORE_KEY_BYTES_MAX];
};

/* Return: the key of a row; @table is STORE_NAME, STORE_ATTRIBUTES or STORE_CONFIG. */
struct store_key store_key_info(enum store_info info);
struct store_key store_key_box(enum store_table table, uint64_t box);
struct store_key store_key_message(uint64_t box, uint64_t seq);
struct store_key store_key_history(uint64_t box, uint64_t seq);
struct store_key store_key_to_do(uint64_t txn, uint64_t n);

/* Takes apart a key of @n_bytes at @bytes; *ret_first and *ret_second get its numbers, those that it has.
 * Return: its table; 0: it is none. */
int store_key_parse(const void *bytes, size_t n_bytes, uint64_t *ret_first, uint64_t *ret_second);

/* Return: the checksum of a value whose key is @key, and which holds @head and then @n pieces. */
struct store_piece {
    const void *data;
    size_t n_bytes;
};
uint64_t store_sum(const void *key, size_t n_key, const struct store_piece *pieces, size_t n);

#define STORE_SUM_BYTES 8

/* A message as it stands under STORE_MESSAGE. Pointers are into what it was decoded from, or is encoded from. */
struct store_message {
    uint64_t id;
    struct timespec arrived;
    unsigned int prio;
    bool is_on_disk; /* durable=disk: its going is to be on the disk too */
    bool is_shared;  /* other mailboxes may have a message of this id */
    bool is_copy;    /* its headers and bytes stand at @original */
    struct store_place original;
    pid_t pid;
    uid_t uid;
    gid_t gid;
    uint32_t attempts;
    const void *headers;
    size_t header_bytes;
    const void *data;
    size_t size_bytes;
};

/* Before headers and bytes. */
#define STORE_MESSAGE_HEAD_BYTES 64

/* Return: how long the value is. */
size_t store_message_bytes(const struct store_message *message);

/* Writes the value, store_message_bytes() long, to @value. */
void store_message_encode(const struct store_key *key, const struct store_message *message,
                          unsigned char *value);

/* Return: 0; -EUCLEAN: it is none, or damaged. */
int store_message_decode(const void *key, size_t n_key, const void *value, size_t n_value,
                         struct store_message *ret_message);

/* A value that is a number, or bytes, behind the checksum. Return: 0; -EUCLEAN: it is none, or damaged. */
#define STORE_NUMBER_BYTES 16
void store_number_encode(const struct store_key *key, uint64_t number,
                         unsigned char value[STORE_NUMBER_BYTES]);
int store_number_decode(const void *key, size_t n_key, const void *value, size_t n_value,
                        uint64_t *ret_number);
void store_bytes_encode(const struct store_key *key, const void *data, size_t n,
                        unsigned char *value);
/* Return: 0 with what is behind the checksum; -EUCLEAN. */
int store_bytes_decode(const void *key, size_t n_key, const void *value, size_t n_value,
                       const void **ret_data, size_t *ret_n);

/* What a name's value holds behind the checksum: kind (8 bytes), the box it belongs to (8 bytes; 0: none), the name. */
#define STORE_NAME_HEAD_BYTES 16
#define STORE_NAME_BYTES_MAX 255

struct store_name {
    enum store_kind kind;
    uint64_t parent;
    const char *text; /* not ended by NUL */
    size_t n_bytes;
};

/* Return: how long the value is, which is written to @value. */
size_t store_name_encode(
    const struct store_key *key, const struct store_name *name,
    unsigned char value[STORE_SUM_BYTES + STORE_NAME_HEAD_BYTES + STORE_NAME_BYTES_MAX]);
int store_name_decode(const void *key, size_t n_key, const void *value, size_t n_value,
                      struct store_name *ret_name);

#endif
