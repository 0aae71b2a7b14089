/* A value is made when it is asked for. Headers are the sender's words; their values are any bytes. */
#include "message_xattr.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "envelope.h"
#include "timestamp.h"

static const char prefix[] = "user.ipcfs.";
static const char header_prefix[] = "h.";

#define PREFIX_LENGTH (sizeof(prefix) - 1)
#define HEADER_PREFIX_LENGTH (sizeof(header_prefix) - 1)

/* Longest of the values that are numbers, or a time. */
#define SHORT_VALUE_MAX 64

static int copy_value(const char *value, size_t n, char **ret_value, size_t *ret_size)
{
    char *copy = malloc(n + 1);

    if (!copy)
        return -ENOMEM;
    memcpy(copy, value, n);
    *ret_value = copy;
    *ret_size = n;
    return 0;
}

static int copy_count(uint64_t count, char **ret_value, size_t *ret_size)
{
    char text[SHORT_VALUE_MAX];

    return copy_value(text, (size_t)snprintf(text, sizeof(text), "%" PRIu64, count), ret_value,
                      ret_size);
}

static uint64_t message_xattr_pid_of(const struct mbox_entry *entry)
{
    return (uint64_t)entry->msg->sender.pid;
}

static uint64_t uid_of(const struct mbox_entry *entry)
{
    return entry->msg->sender.uid;
}

static uint64_t gid_of(const struct mbox_entry *entry)
{
    return entry->msg->sender.gid;
}

static uint64_t prio_of(const struct mbox_entry *entry)
{
    return entry->msg->prio;
}

static uint64_t id_of(const struct mbox_entry *entry)
{
    return entry->msg->id;
}

static uint64_t size_of(const struct mbox_entry *entry)
{
    return entry->msg->size_bytes;
}

static uint64_t attempts_of(const struct mbox_entry *entry)
{
    return entry->n_attempts;
}

/* What every message has. */
static const struct field {
    const char *name;
    enum message_xattrs which;
    uint64_t (*value)(const struct mbox_entry *entry);
} fields[] = {
    { "pid", MESSAGE_XATTRS_OF_QUEUE, message_xattr_pid_of },
    { "uid", MESSAGE_XATTRS_OF_QUEUE, uid_of },
    { "gid", MESSAGE_XATTRS_OF_QUEUE, gid_of },
    { "prio", MESSAGE_XATTRS_OF_QUEUE, prio_of },
    { "id", MESSAGE_XATTRS_ALL, id_of },
    { "size", MESSAGE_XATTRS_ALL, size_of },
    { "attempts", MESSAGE_XATTRS_ALL, attempts_of },
};

#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

static int copy_time(const struct mbox_entry *entry, char **ret_value, size_t *ret_size)
{
    char text[TIMESTAMP_MAX];

    timestamp_format(&entry->msg->arrived, text);
    return copy_value(text, strlen(text), ret_value, ret_size);
}

static int copy_envelope(const struct mbox_entry *entry, char **ret_value, size_t *ret_size)
{
    FILE *to = open_memstream(ret_value, ret_size);
    struct envelope envelope;
    char part[1024];
    bool failed;

    if (!to)
        return -ENOMEM;
    envelope_init_bare(&envelope, entry);
    while (!envelope_is_read(&envelope))
        fwrite(part, 1, envelope_read(&envelope, part, sizeof(part)), to);
    failed = ferror(to);
    if (fclose(to) != 0 || failed) {
        free(*ret_value);
        return -ENOMEM;
    }
    /* A value is no line. */
    --*ret_size;
    return 0;
}

static int copy_header(const struct mbox_entry *entry, const char *name, char **ret_value,
                       size_t *ret_size)
{
    struct header header;

    if (!headers_find(mbox_entry_headers(entry), name, strlen(name), &header))
        return -ENODATA;
    return copy_value(header.value, header.n_value, ret_value, ret_size);
}

bool message_xattr_is_sender(const char *name)
{
    if (strncmp(name, prefix, PREFIX_LENGTH) == 0 && strcmp(name + PREFIX_LENGTH, "call") == 0)
        return true;
    for (size_t i = 0; i < N_FIELDS; i++) {
        if (fields[i].which == MESSAGE_XATTRS_OF_QUEUE &&
            strncmp(name, prefix, PREFIX_LENGTH) == 0 &&
            strcmp(name + PREFIX_LENGTH, fields[i].name) == 0)
            return true;
    }
    return false;
}

int message_xattr_get(const struct mbox_entry *entry, const char *name, char **ret_value,
                      size_t *ret_size)
{
    if (strncmp(name, prefix, PREFIX_LENGTH) != 0)
        return -ENODATA;
    name += PREFIX_LENGTH;
    if (strncmp(name, header_prefix, HEADER_PREFIX_LENGTH) == 0)
        return copy_header(entry, name + HEADER_PREFIX_LENGTH, ret_value, ret_size);
    /* A question's alone; its value is as in the envelope. */
    if (strcmp(name, "call") == 0 && entry->msg->is_call)
        return copy_value("true", strlen("true"), ret_value, ret_size);
    if (strcmp(name, "time") == 0)
        return copy_time(entry, ret_value, ret_size);
    if (strcmp(name, "envelope") == 0)
        return copy_envelope(entry, ret_value, ret_size);
    for (size_t i = 0; i < N_FIELDS; i++) {
        if (strcmp(name, fields[i].name) == 0)
            return copy_count(fields[i].value(entry), ret_value, ret_size);
    }
    return -ENODATA;
}

static void list_name(FILE *to, const char *name)
{
    fprintf(to, "%s%s%c", prefix, name, '\0');
}

static void list_names(FILE *to, const struct mbox_entry *entry, enum message_xattrs which)
{
    struct header header;
    size_t at = 0;

    for (size_t i = 0; i < N_FIELDS; i++) {
        if (fields[i].which <= which)
            list_name(to, fields[i].name);
    }
    if (which == MESSAGE_XATTRS_ALL) {
        list_name(to, "time");
        list_name(to, "envelope");
    } else if (entry->n_attempts > 0) {
        list_name(to, "attempts");
    }
    if (entry->msg->is_call)
        list_name(to, "call");
    while (headers_next(mbox_entry_headers(entry), &at, &header))
        fprintf(to, "%s%s%.*s%c", prefix, header_prefix, (int)header.n_name, header.name, '\0');
}

int message_xattr_list(const struct mbox_entry *entry, enum message_xattrs which, char **ret_names,
                       size_t *ret_size)
{
    FILE *to = open_memstream(ret_names, ret_size);
    bool failed;

    if (!to)
        return -ENOMEM;
    list_names(to, entry, which);
    failed = ferror(to);
    if (fclose(to) == 0 && !failed)
        return 0;
    free(*ret_names);
    return -ENOMEM;
}
