#include "msgq.h"

void msgq_init(struct msgq *q)
{
    *q = (struct msgq){ 0 };
    for (size_t i = 0; i < MSG_N_PRIOS; i++)
        TAILQ_INIT(&q->levels[i]);
}

static void count_in(struct msgq *q, const struct msg *msg)
{
    q->occupied |= UINT32_C(1) << msg->prio;
    q->n_messages++;
    q->n_bytes += msg->size_bytes;
}

void msgq_push(struct msgq *q, struct msg *msg)
{
    TAILQ_INSERT_TAIL(&q->levels[msg->prio], msg, link);
    count_in(q, msg);
}

/* @next: a message of the same priority that is not behind @msg's place; NULL: all are before it.
 * Return: the one that is behind it now. */
static struct msg *put_back_from(struct msgq *q, struct msg *msg, struct msg *next)
{
    while (next && next->seq < msg->seq)
        next = TAILQ_NEXT(next, link);
    if (next)
        TAILQ_INSERT_BEFORE(next, msg, link);
    else
        TAILQ_INSERT_TAIL(&q->levels[msg->prio], msg, link);
    count_in(q, msg);
    return next;
}

void msgq_put_back(struct msgq *q, struct msg *msg)
{
    put_back_from(q, msg, TAILQ_FIRST(&q->levels[msg->prio]));
}

void msgq_put_all_back(struct msgq *q, struct msgq_level *others)
{
    struct msg *next[MSG_N_PRIOS];
    struct msg *msg;

    for (size_t i = 0; i < MSG_N_PRIOS; i++)
        next[i] = TAILQ_FIRST(&q->levels[i]);
    while ((msg = TAILQ_FIRST(others))) {
        TAILQ_REMOVE(others, msg, link);
        next[msg->prio] = put_back_from(q, msg, next[msg->prio]);
    }
}

void msgq_remove(struct msgq *q, struct msg *msg)
{
    struct msgq_level *level = &q->levels[msg->prio];

    TAILQ_REMOVE(level, msg, link);
    if (TAILQ_EMPTY(level))
        q->occupied &= ~(UINT32_C(1) << msg->prio);
    q->n_messages--;
    q->n_bytes -= msg->size_bytes;
}

/* Return: the first message of the highest priority among @levels. */
static struct msg *first_of(const struct msgq *q, uint32_t levels)
{
    return levels ? TAILQ_FIRST(&q->levels[31 - __builtin_clz(levels)]) : NULL;
}

struct msg *msgq_first(const struct msgq *q)
{
    return first_of(q, q->occupied);
}

struct msg *msgq_next(const struct msgq *q, const struct msg *msg)
{
    struct msg *next = TAILQ_NEXT(msg, link);

    return next ? next : msgq_first_below(q, msg->prio);
}

struct msg *msgq_first_below(const struct msgq *q, unsigned int prio)
{
    return first_of(q, q->occupied & ((UINT32_C(1) << prio) - 1));
}

struct msg *msgq_least(const struct msgq *q)
{
    if (!q->occupied)
        return NULL;
    return TAILQ_FIRST(&q->levels[__builtin_ctz(q->occupied)]);
}

bool msgq_has_at_least(const struct msgq *q, unsigned int prio)
{
    return q->occupied >> prio != 0;
}
