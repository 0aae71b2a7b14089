/* `metrics` is in the text format of Prometheus: each family whole, its HELP and TYPE before it. */
#include "info.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/kernel/backing.h"
#include "core/mailbox/names.h"
#include "core/store/store.h"
#include "fs/kernel/kernel.h"
#include "fs/proc/processes.h"
#include "fs/kernel/listing.h"
#include "fs/ring/ring.h"
#include "fs/topic/topic.h"
#include "fs/kernel/room.h"
#include "fs/kernel/text.h"
#include "fs/kernel/transport.h"

static const struct info *info_of_file(const struct file *file)
{
    return ((const struct text_file *)file)->about;
}

/* Return: the directory of a node in it. */
static struct info *info_of(const struct node *node)
{
    return (struct info *)((char *)node->object - offsetof(struct info, room));
}

static int make_version(struct file *file, char **ret_text)
{
    if (asprintf(
            ret_text,
            "version=" IPCFS_VERSION "\n"
            "libfuse=%s\n"
            "features=mbox,topic,lines,json,headers,priorities,drop,queue,owner,poll,packet,metrics,ring,shm,proc,link\n"
            "passthrough=%s\n"
            "transport=%s\n"
            "mount_id=%s\n",
            fuse_pkgversion(), backing_works(&file->kernel->backing) ? "yes" : "no",
            transport_name(), info_of_file(file)->domain->id) < 0)
        return -ENOMEM;
    return 0;
}

/* What one mailbox or ring showed at the moment. */
struct sample {
    char *name;
    union {
        struct mbox_stat mailbox;
        struct topic_stat topic;
        struct ring_mbox_stat ring;
    } stat;
};

struct samples {
    int (*look)(struct mbox *mbox, struct sample *ret_sample);
    struct sample *list;
    size_t n;
    size_t n_allocated;
};

static int look_at_mailbox(struct mbox *mbox, struct sample *ret_sample)
{
    return mbox_get_stat(mbox, &ret_sample->stat.mailbox);
}

static int look_at_topic(struct mbox *mbox, struct sample *ret_sample)
{
    return topic_box_get_stat(mbox, &ret_sample->stat.topic);
}

static int look_at_ring(struct mbox *mbox, struct sample *ret_sample)
{
    return ring_get_stat(mbox, &ret_sample->stat.ring);
}

static int add_sample(const char *name, struct mbox *mbox, void *arg)
{
    struct samples *samples = arg;
    struct sample sample;

    if (samples->look(mbox, &sample) < 0)
        return 0;
    if (samples->n == samples->n_allocated) {
        size_t n = samples->n ? 2 * samples->n : 16;
        struct sample *list = reallocarray(samples->list, n, sizeof(*list));

        if (!list)
            return -ENOMEM;
        samples->list = list;
        samples->n_allocated = n;
    }
    sample.name = strdup(name);
    if (!sample.name)
        return -ENOMEM;
    samples->list[samples->n++] = sample;
    return 0;
}

static void free_samples(struct samples *samples)
{
    for (size_t i = 0; i < samples->n; i++)
        free(samples->list[i].name);
    free(samples->list);
}

static const struct family {
    const char *name;
    const char *type;
    const char *help;
    size_t value; /* where in its struct of counters */
} mailbox_families[] = {
    { "ipcfs_mailbox_messages", "gauge", "Messages that wait in the mailbox.",
      offsetof(struct mbox_stat, n_messages) },
    { "ipcfs_mailbox_bytes", "gauge", "Bytes of the messages that wait in the mailbox.",
      offsetof(struct mbox_stat, n_bytes) },
    { "ipcfs_mailbox_senders_waiting", "gauge", "Senders that wait for room.",
      offsetof(struct mbox_stat, n_senders_waiting) },
    { "ipcfs_mailbox_receivers_waiting", "gauge", "Receivers that wait for a message.",
      offsetof(struct mbox_stat, n_receivers_waiting) },
    { "ipcfs_mailbox_sent_total", "counter", "Messages that came into the mailbox.",
      offsetof(struct mbox_stat, n_sent) },
    { "ipcfs_mailbox_received_total", "counter", "Messages that were taken out of the mailbox.",
      offsetof(struct mbox_stat, n_received) },
    { "ipcfs_mailbox_dropped_total", "counter", "Messages that gave way to newer ones.",
      offsetof(struct mbox_stat, n_dropped) },
    { "ipcfs_mailbox_leased", "gauge", "Messages on lease (work).",
      offsetof(struct mbox_stat, n_leased) },
    { "ipcfs_mailbox_durable", "gauge",
      "What its messages survive: 0 nothing, 1 the daemon's end, 2 the machine's.",
      offsetof(struct mbox_stat, durable) },
    { "ipcfs_mailbox_kept", "gauge", "Messages that wait and are in the store.",
      offsetof(struct mbox_stat, n_kept) },
    { "ipcfs_mailbox_storing", "gauge", "Messages that are sent and wait for the store.",
      offsetof(struct mbox_stat, n_storing) },
    { "ipcfs_mailbox_expired_total", "counter", "Messages that waited too long (ttl).",
      offsetof(struct mbox_stat, n_expired) },
    { "ipcfs_mailbox_dead_total", "counter",
      "Messages that went to the mailbox for those given up (dead).",
      offsetof(struct mbox_stat, n_dead) },
    { "ipcfs_mailbox_rejected_total", "counter", "Messages that found no room and were refused.",
      offsetof(struct mbox_stat, n_rejected) },
};

static const struct family topic_families[] = {
    { "ipcfs_topic_subscriptions", "gauge", "Subscriptions to the topic.",
      offsetof(struct topic_stat, n_subscriptions) },
    { "ipcfs_topic_senders_waiting", "gauge", "Publishers that wait for a subscription.",
      offsetof(struct topic_stat, n_senders_waiting) },
    { "ipcfs_topic_published_total", "counter", "Messages that were published.",
      offsetof(struct topic_stat, n_published) },
    { "ipcfs_topic_delivered_total", "counter", "Messages that came into subscriptions.",
      offsetof(struct topic_stat, n_delivered) },
    { "ipcfs_topic_dropped_total", "counter",
      "Messages that a subscription had no room for, or that nobody had subscribed to.",
      offsetof(struct topic_stat, n_dropped) },
};

static const struct family ring_families[] = {
    { "ipcfs_ring_messages", "gauge", "Messages that wait in the ring.",
      offsetof(struct ring_mbox_stat, n_messages) },
    { "ipcfs_ring_map_bytes", "gauge", "Bytes of the ring's map.",
      offsetof(struct ring_mbox_stat, n_bytes) },
    { "ipcfs_ring_senders_waiting", "gauge", "Senders of the mount that wait for room.",
      offsetof(struct ring_mbox_stat, n_senders_waiting) },
    { "ipcfs_ring_receivers_waiting", "gauge", "Receivers of the mount that wait for a message.",
      offsetof(struct ring_mbox_stat, n_receivers_waiting) },
    { "ipcfs_ring_sent_total", "counter",
      "Messages that came into the ring since it got its memory.",
      offsetof(struct ring_mbox_stat, head) },
    { "ipcfs_ring_received_total", "counter", "Messages that were taken out since then.",
      offsetof(struct ring_mbox_stat, tail) },
};

/* Return: the length of the UTF-8 sequence at @text (RFC 3629); 0: it is not one. */
static size_t utf8_length(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

    if (s[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    }
    /* Overlong forms, surrogates and what lies beyond U+10FFFF. */
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* A label's value. A byte that is no UTF-8 is shown as \xNN, its backslash escaped. */
static void print_label(FILE *out, const char *text)
{
    while (*text) {
        size_t n = utf8_length(text);

        if (n == 0)
            fprintf(out, "\\\\x%02x", (unsigned char)*text);
        else if (*text == '\n')
            fputs("\\n", out);
        else if (*text == '"' || *text == '\\')
            fprintf(out, "\\%c", *text);
        else
            fwrite(text, 1, n, out);
        text += n ? n : 1;
    }
}

static void print_header(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void print_counted(FILE *out, const char *name, const char *type, const char *help,
                          uint64_t value)
{
    print_header(out, name, type, help);
    fprintf(out, "%s %" PRIu64 "\n", name, value);
}

static void print_single(FILE *out, const char *name, const char *help, uint64_t value)
{
    print_counted(out, name, "gauge", help, value);
}

static const struct family store_families[] = {
    { "ipcfs_store_used_bytes", "gauge", "Bytes of the store that hold something.",
      offsetof(struct store_stat, n_used_bytes) },
    { "ipcfs_store_map_bytes", "gauge", "Bytes of the store's file, which grows by itself.",
      offsetof(struct store_stat, n_map_bytes) },
    { "ipcfs_store_messages", "gauge", "Messages in the store.",
      offsetof(struct store_stat, n_messages) },
    { "ipcfs_store_mailboxes", "gauge", "Mailboxes in the store.",
      offsetof(struct store_stat, n_boxes) },
    { "ipcfs_store_commits_total", "counter",
      "Transactions of live.mdb, which survive the daemon's end.",
      offsetof(struct store_stat, n_transactions) },
    { "ipcfs_store_syncs_total", "counter",
      "Transactions of disk.mdb, which survive the machine's end.",
      offsetof(struct store_stat, n_syncs) },
    { "ipcfs_store_failures_total", "counter", "Transactions that could not be committed.",
      offsetof(struct store_stat, n_failures) },
};

/* A room whose things are told one by one. */
struct room_metrics {
    const char *label;
    const struct family *families;
    size_t n_families;
    struct samples samples;
};

static void print_family(FILE *out, const struct family *family, const struct room_metrics *room)
{
    print_header(out, family->name, family->type, family->help);
    for (size_t i = 0; i < room->samples.n; i++) {
        const char *stat = (const char *)&room->samples.list[i].stat;

        fprintf(out, "%s{%s=\"", family->name, room->label);
        print_label(out, room->samples.list[i].name);
        fprintf(out, "\"} %" PRIu64 "\n", *(const uint64_t *)(const void *)(stat + family->value));
    }
}

static void print_room(FILE *out, const struct room_metrics *room)
{
    for (size_t i = 0; i < room->n_families; i++)
        print_family(out, &room->families[i], room);
}

static void print_totals(FILE *out, const struct info *info)
{
    struct quota *quota = info->kernel->quota;

    print_header(out, "ipcfs_info", "gauge", "The mount's version; the value is 1.");
    fprintf(out, "ipcfs_info{version=\"" IPCFS_VERSION "\"} 1\n");
    print_single(out, "ipcfs_mailboxes", "Mailboxes in mbox/.", names_count(info->mailboxes));
    print_single(out, "ipcfs_topics", "Topics in topic/.", names_count(info->topics));
    print_single(out, "ipcfs_rings", "Rings in ring/.", names_count(info->rings));
    print_single(out, "ipcfs_processes", "Processes in proc/ that are in use.",
                 processes_count(info->processes));
    print_single(out, "ipcfs_links", "Links between two processes.",
                 processes_count_links(info->processes));
    print_single(out, "ipcfs_used_bytes", "Bytes charged for what waits.", quota_used(quota));
    print_single(out, "ipcfs_max_bytes", "The bound on what may wait.", info->kernel->max_bytes);
    print_single(out, "ipcfs_kept_bytes",
                 "Bytes charged for mailboxes, rings, links and processes in use.",
                 quota_used_kept(quota, QUOTA_MADE));
    print_single(out, "ipcfs_descriptors", "Descriptors of the daemon that are charged to users.",
                 quota_used_fds(quota));
}

#define N_FAMILIES(families) (sizeof(families) / sizeof((families)[0]))

static void print_store(FILE *out, struct store *store)
{
    struct store_stat stat;

    store_get_stat(store, &stat);
    for (size_t i = 0; i < N_FAMILIES(store_families); i++) {
        const struct family *family = &store_families[i];

        print_counted(out, family->name, family->type, family->help,
                      *(const uint64_t *)(const void *)((const char *)&stat + family->value));
    }
    if (!stat.last_error)
        return;
    print_header(out, "ipcfs_store_last_failure_seconds", "gauge",
                 "When a transaction last failed, and why; CLOCK_REALTIME.");
    fprintf(out, "ipcfs_store_last_failure_seconds{error=\"%s\"} %lld.%03ld\n",
            strerrordesc_np(-stat.last_error), (long long)stat.failed.tv_sec,
            stat.failed.tv_nsec / 1000000);
}

static int print_metrics(const struct info *info, char **ret_text)
{
    struct room_metrics mailboxes = {
        "mailbox", mailbox_families, N_FAMILIES(mailbox_families), { .look = look_at_mailbox }
    };
    struct room_metrics topics = {
        "topic", topic_families, N_FAMILIES(topic_families), { .look = look_at_topic }
    };
    struct room_metrics rings = {
        "ring", ring_families, N_FAMILIES(ring_families), { .look = look_at_ring }
    };
    FILE *out = NULL;
    char *text = NULL;
    size_t size;
    int r;

    r = names_each(info->mailboxes, add_sample, &mailboxes.samples);
    if (r == 0)
        r = names_each(info->topics, add_sample, &topics.samples);
    if (r == 0)
        r = names_each(info->rings, add_sample, &rings.samples);
    if (r == 0)
        out = open_memstream(&text, &size);
    if (out) {
        print_totals(out, info);
        if (info->store)
            print_store(out, info->store);
        print_room(out, &mailboxes);
        print_room(out, &topics);
        print_room(out, &rings);
        /* What did not fit is told by each of the two. */
        if (ferror(out))
            r = -ENOMEM;
        if (fclose(out) != 0 || !text)
            r = -ENOMEM;
    } else {
        r = -ENOMEM;
    }
    if (r < 0)
        free(text);
    else
        *ret_text = text;
    free_samples(&mailboxes.samples);
    free_samples(&topics.samples);
    free_samples(&rings.samples);
    return r;
}

static int make_metrics(struct file *file, char **ret_text)
{
    return print_metrics(info_of_file(file), ret_text);
}

/* Its length at the moment: tail(1) looks for the end there, and busybox's cat reads no further. */
static off_t metrics_size(const struct info *info)
{
    char *text;
    off_t n_bytes;

    if (print_metrics(info, &text) < 0)
        return 0;
    n_bytes = (off_t)strlen(text);
    free(text);
    return n_bytes;
}

static const struct text_ops version_ops = TEXT_OPS(make_version, NULL, NULL);
static const struct text_ops metrics_ops = TEXT_OPS(make_metrics, NULL, NULL);

static void info_getattr(struct node *node, struct stat *ret_attr);
static int info_open(struct node *node, int flags, const struct caller *caller,
                     struct file **ret_file);

static const struct info_file {
    const char *name;
    const struct text_ops *text;
    /* NULL: it is TEXT_SIZE_BYTES, which is longer than it is. */
    off_t (*get_size)(const struct info *info);
    struct node_ops ops;
} info_files[] = {
    { "version", &version_ops, NULL, { .getattr = info_getattr, .open = info_open } },
    { "metrics", &metrics_ops, metrics_size, { .getattr = info_getattr, .open = info_open } },
};

#define N_INFO_FILES (sizeof(info_files) / sizeof(info_files[0]))

static const struct info_file *info_file_of(const struct node *node)
{
    return (const struct info_file *)((const char *)node->ops - offsetof(struct info_file, ops));
}

/* As the room, but a file, and nobody's to write. */
static void info_getattr(struct node *node, struct stat *ret_attr)
{
    const struct info_file *file = info_file_of(node);

    room_getattr(node, ret_attr);
    ret_attr->st_ino += 1 + (uint64_t)(file - info_files);
    ret_attr->st_mode = S_IFREG | 0444;
    ret_attr->st_nlink = 1;
    text_set_size(ret_attr, file->get_size ? file->get_size(info_of(node)) : TEXT_SIZE_BYTES);
}

static int info_open(struct node *node, int flags, const struct caller *caller,
                     struct file **ret_file)
{
    int r;

    (void)caller;
    if (!file_is_for(flags, O_RDONLY))
        return -EACCES;
    r = text_open(node->kernel, info_file_of(node)->text, NULL, ret_file);
    if (r == 0)
        ((struct text_file *)*ret_file)->about = info_of(node);
    return r;
}

static int info_lookup(struct node *dir, const char *name, struct node **ret_node)
{
    for (size_t i = 0; i < N_INFO_FILES; i++) {
        if (strcmp(name, info_files[i].name) == 0)
            return node_obtain(&dir->kernel->nodes, &info_files[i].ops, dir->object, NULL,
                               ret_node);
    }
    return -ENOENT;
}

static int info_list(struct node *dir, struct listing *listing)
{
    struct room *room = dir->object;
    int r = 0;

    for (size_t i = 0; i < N_INFO_FILES && r == 0; i++)
        r = listing_add(listing, info_files[i].name, room->attr.ino + 1 + i, S_IFREG);
    return r;
}

const struct node_ops info_ops = {
    .getattr = room_getattr,
    .lookup = info_lookup,
    .list = info_list,
};
