#include "msgq.h"

void msgq_init(struct msgq *q)
{
    *q = (struct msgq){ 0 };
    for (size_t i = 0; i < MSG_N_PRIOS; i++)
        TAILQ_INIT(&q->levels[i]);
}

static void count_in(struct msgq *q, struct mbox_entry *entry)
{
    q->occupied |= UINT32_C(1) << entry->msg->prio;
    q->n_messages++;
    q->n_bytes += entry->msg->size_bytes;
    entry->counts_as_kept = entry->note;
    if (entry->counts_as_kept) {
        q->n_kept++;
        q->n_kept_bytes += entry->msg->size_bytes;
    }
}

void msgq_push(struct msgq *q, struct mbox_entry *entry)
{
    TAILQ_INSERT_TAIL(&q->levels[entry->msg->prio], entry, link);
    count_in(q, entry);
}

/* @next: a message of the same priority that is not behind @entry's place; NULL: all are before it.
 * Return: the one that is behind it now. */
static struct mbox_entry *put_back_from(struct msgq *q, struct mbox_entry *entry,
                                        struct mbox_entry *next)
{
    while (next && next->seq < entry->seq)
        next = TAILQ_NEXT(next, link);
    if (next)
        TAILQ_INSERT_BEFORE(next, entry, link);
    else
        TAILQ_INSERT_TAIL(&q->levels[entry->msg->prio], entry, link);
    count_in(q, entry);
    return next;
}

void msgq_put_back(struct msgq *q, struct mbox_entry *entry)
{
    put_back_from(q, entry, TAILQ_FIRST(&q->levels[entry->msg->prio]));
}

void msgq_put_all_back(struct msgq *q, struct mbox_entries *others)
{
    struct mbox_entry *next[MSG_N_PRIOS];
    struct mbox_entry *entry;

    for (size_t i = 0; i < MSG_N_PRIOS; i++)
        next[i] = TAILQ_FIRST(&q->levels[i]);
    while ((entry = TAILQ_FIRST(others))) {
        TAILQ_REMOVE(others, entry, link);
        next[entry->msg->prio] = put_back_from(q, entry, next[entry->msg->prio]);
    }
}

void msgq_remove(struct msgq *q, struct mbox_entry *entry)
{
    struct mbox_entries *level = &q->levels[entry->msg->prio];

    TAILQ_REMOVE(level, entry, link);
    if (TAILQ_EMPTY(level))
        q->occupied &= ~(UINT32_C(1) << entry->msg->prio);
    q->n_messages--;
    q->n_bytes -= entry->msg->size_bytes;
    if (entry->counts_as_kept) {
        q->n_kept--;
        q->n_kept_bytes -= entry->msg->size_bytes;
    }
}

/* Return: the first message of the highest priority among @levels. */
static struct mbox_entry *first_of(const struct msgq *q, uint32_t levels)
{
    return levels ? TAILQ_FIRST(&q->levels[31 - __builtin_clz(levels)]) : NULL;
}

struct mbox_entry *msgq_first(const struct msgq *q)
{
    return first_of(q, q->occupied);
}

struct mbox_entry *msgq_next(const struct msgq *q, const struct mbox_entry *entry)
{
    struct mbox_entry *next = TAILQ_NEXT(entry, link);

    return next ? next : msgq_first_below(q, entry->msg->prio);
}

struct mbox_entry *msgq_first_below(const struct msgq *q, unsigned int prio)
{
    return first_of(q, q->occupied & ((UINT32_C(1) << prio) - 1));
}

struct mbox_entry *msgq_least(const struct msgq *q)
{
    if (!q->occupied)
        return NULL;
    return TAILQ_FIRST(&q->levels[__builtin_ctz(q->occupied)]);
}

bool msgq_has_at_least(const struct msgq *q, unsigned int prio)
{
    return q->occupied >> prio != 0;
}
