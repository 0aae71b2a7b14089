/* A table by id, in the order of the leases, which hangs on the entries' own handles: those are for the mailbox's index,
 * and what is on lease is in no queue. So a lease takes no memory that is not charged with its message. */
#include "held.h"

#include <errno.h>
#include <string.h>

#include "core/base/hash.h"
#include "core/mailbox/call.h"
#include "core/mailbox/lease.h"
#include "ids.h"
#include "json_line.h"
#include "work.h"

/* The longest is an id of 20 digits. */
#define ID_TEXT_MAX 32

int held_add(struct held *held, struct mbox_entry *entry)
{
    HASH_ADD_KEYPTR(hh, held->by_id, &entry->msg->id, sizeof(entry->msg->id), entry);
    return hash_added(entry, hh) ? 0 : -ENOMEM;
}

void held_remove(struct held *held, struct mbox_entry *entry)
{
    HASH_DELETE(hh, held->by_id, entry);
}

static struct mbox_entry *held_find(const struct held *held, uint64_t id)
{
    struct mbox_entry *entry;

    HASH_FIND(hh, held->by_id, &id, sizeof(id), entry);
    return entry;
}

/* Return: the one whose id is written so; NULL. */
static struct mbox_entry *held_find_written(const struct held *held, const char *text, size_t n)
{
    char name[ID_TEXT_MAX];
    uint64_t id;

    if (n >= sizeof(name))
        return NULL;
    memcpy(name, text, n);
    name[n] = '\0';
    return id_parse_short(name, &id) ? held_find(held, id) : NULL;
}

/* Return: 0; as mbox_lease_end. */
static int held_end(struct held *held, struct mbox *mbox, struct mbox_entry *entry,
                    enum mbox_lease_word word, struct mbox_op *op, struct mbox_ready *ready)
{
    int r;

    held_remove(held, entry);
    r = mbox_lease_end(mbox, entry, word, op, ready);
    return r < 0 ? r : 0;
}

/* Return: 0: @msg is given, which counts for its sender until then; a negative errno. */
static int held_give(struct mbox *mbox, uint64_t id, struct msg *msg, struct mbox_ready *ready)
{
    struct quota *quota = &mbox->domain->quota;
    struct mbox_limits limits;
    int r = mbox_get_limits(mbox, &limits);

    if (r == 0 && msg->size_bytes > limits.message_bytes)
        r = -EMSGSIZE;
    if (r == 0)
        r = quota_charge(quota, msg->sender.uid, msg_charge_bytes(msg));
    if (r < 0)
        return r;
    r = call_answer(mbox, id, msg, ready);
    if (r < 0)
        quota_release(quota, msg->sender.uid, msg_charge_bytes(msg));
    return r;
}

/* A line that is an answer. Return: 0; a negative errno. */
static int held_answer(struct held *held, struct mbox *mbox, const char *line, size_t n,
                       struct msg_sender sender, struct mbox_ready *ready)
{
    struct mbox_entry *entry;
    struct msg *msg;
    uint64_t id;
    int r = json_line_parse_answer(line, n, sender, &id, &msg);

    if (r < 0)
        return r;
    entry = held_find(held, id);
    r = entry ? held_give(mbox, id, msg, ready) : -ENODATA;
    msg_unref(msg);
    /* Given is given, whatever becomes of the mailbox now. A question is in no journal. */
    if (r == 0)
        held_end(held, mbox, entry, MBOX_LEASE_DONE, NULL, ready);
    return r;
}

/* A line that is a word and an id. Return: 0; -EINVAL; -ENODATA; as mbox_lease_end. */
static int held_say_word(struct held *held, struct mbox *mbox, const char *line, size_t n,
                         struct mbox_op *op, struct mbox_ready *ready)
{
    const char *space = memchr(line, ' ', n);
    enum mbox_lease_word word;
    struct mbox_entry *entry;

    if (!space || work_parse_word(line, (size_t)(space - line), &word) < 0)
        return -EINVAL;
    entry = held_find_written(held, space + 1, n - (size_t)(space - line) - 1);
    return entry ? held_end(held, mbox, entry, word, op, ready) : -ENODATA;
}

ssize_t held_say(struct held *held, struct mbox *mbox, const struct held_words *words,
                 struct mbox_op *op, struct mbox_ready *ready)
{
    size_t done = 0;

    while (done < words->size) {
        const char *line = words->data + done;
        size_t left = words->size - done;
        const char *newline = memchr(line, '\n', left);
        size_t n = newline ? (size_t)(newline - line) : left;
        int r;

        /* The kernel may have cut a longer write in two. */
        if (!newline && done > 0)
            break;
        if (n > 0 && line[0] == '{')
            r = held_answer(held, mbox, line, n, words->sender, ready);
        else
            r = held_say_word(held, mbox, line, n, op, ready);
        if (r < 0 && done == 0)
            return r;
        if (r < 0)
            break;
        done += newline ? n + 1 : n;
    }
    return (ssize_t)done;
}

/* NULL: none is held. */
static struct mbox_entry *held_youngest(const struct held *held)
{
    UT_hash_table *table = held->by_id ? held->by_id->hh.tbl : NULL;

    return table ? ELMT_FROM_HH(table, table->tail) : NULL;
}

void held_commit(struct held *held, struct mbox *mbox, size_t n, struct mbox_ready *ready)
{
    struct mbox_entry *entry = held_youngest(held);

    for (size_t i = 1; i < n; i++)
        entry = entry->hh.prev;
    for (; entry; entry = entry->hh.next)
        mbox_commit(mbox, entry, ready);
}

/* The youngest first: each finds its place at the head of the queue. */
void held_abort(struct held *held, struct mbox *mbox, size_t n, struct mbox_ready *ready)
{
    for (size_t i = 0; i < n; i++) {
        struct mbox_entry *youngest = held_youngest(held);

        held_remove(held, youngest);
        mbox_abort(mbox, youngest, ready);
    }
}

void held_return(struct held *held, struct mbox *mbox, struct mbox_ready *ready)
{
    struct mbox_entry *youngest;

    while ((youngest = held_youngest(held))) {
        held_remove(held, youngest);
        mbox_lease_end(mbox, youngest, MBOX_LEASE_AGAIN, NULL, ready);
    }
}
