/* A table by id, in the order of the leases, which hangs on the entries' own handles: those are for the mailbox's index,
 * and what is on lease is in no queue. So a lease takes no memory that is not charged with its message. */
#include "held.h"

#include <errno.h>
#include <string.h>

#include "core/base/hash.h"
#include "core/mailbox/lease.h"
#include "ids.h"
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

static struct mbox_entry *held_find(struct held *held, const char *text, size_t n)
{
    char name[ID_TEXT_MAX];
    struct mbox_entry *entry;
    uint64_t id;

    if (n >= sizeof(name))
        return NULL;
    memcpy(name, text, n);
    name[n] = '\0';
    if (!id_parse_short(name, &id))
        return NULL;
    HASH_FIND(hh, held->by_id, &id, sizeof(id), entry);
    return entry;
}

/* One line, without its newline. Return: 0; -EINVAL; -ENODATA; as mbox_lease_end. */
static int held_say_line(struct held *held, struct mbox *mbox, const char *line, size_t n,
                         struct mbox_op *op, struct mbox_ready *ready)
{
    const char *space = memchr(line, ' ', n);
    enum mbox_lease_word word;
    struct mbox_entry *entry;
    int r;

    if (!space || work_parse_word(line, (size_t)(space - line), &word) < 0)
        return -EINVAL;
    entry = held_find(held, space + 1, n - (size_t)(space - line) - 1);
    if (!entry)
        return -ENODATA;
    held_remove(held, entry);
    r = mbox_lease_end(mbox, entry, word, op, ready);
    return r < 0 ? r : 0;
}

ssize_t held_say(struct held *held, struct mbox *mbox, const char *data, size_t size,
                 struct mbox_op *op, struct mbox_ready *ready)
{
    size_t done = 0;

    while (done < size) {
        const char *newline = memchr(data + done, '\n', size - done);
        size_t n = newline ? (size_t)(newline - data) - done : size - done;
        int r;

        /* The kernel may have cut a longer write in two. */
        if (!newline && done > 0)
            break;
        r = held_say_line(held, mbox, data + done, n, op, ready);
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
