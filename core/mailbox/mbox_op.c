/* An op's way, from one state to the next.
 *
 * Under the mailbox's lock, but for what says that it takes it. */
#include "mbox_op.h"

#include <assert.h>

/* The moves that stand at enum mbox_op_state: a bit for each state that may follow. */
__attribute__((unused)) static const unsigned int moves[] = {
    [MBOX_OP_IDLE] = 1U << MBOX_OP_WAITING | 1U << MBOX_OP_STORING,
    [MBOX_OP_WAITING] = 1U << MBOX_OP_IN_FLIGHT | 1U << MBOX_OP_DONE | 1U << MBOX_OP_IDLE |
                        1U << MBOX_OP_STORING,
    [MBOX_OP_IN_FLIGHT] = 1U << MBOX_OP_WAITING | 1U << MBOX_OP_DONE | 1U << MBOX_OP_STORING,
    [MBOX_OP_STORING] = 1U << MBOX_OP_DONE,
    [MBOX_OP_DONE] = 1U << MBOX_OP_WAITING | 1U << MBOX_OP_STORING,
};

void mbox_op_move(struct mbox_op *op, enum mbox_op_state to)
{
    assert(moves[op->state] & 1U << to);
    op->state = to;
}

bool mbox_has_taker_for(const struct mbox *mbox, size_t size_bytes)
{
    const struct mbox_op *op;

    TAILQ_FOREACH(op, &mbox->takers, link) {
        if (op->max_bytes >= size_bytes)
            return true;
    }
    return false;
}

void mbox_op_finish(struct mbox_op *op, int result, struct mbox_ready *ready)
{
    mbox_op_move(op, MBOX_OP_DONE);
    op->result = result;
    TAILQ_INSERT_TAIL(ready, op, link);
}

void mbox_poster_finish(struct mbox_entry *entry, int result, struct mbox_ready *ready)
{
    struct mbox_op *op = entry->poster;

    if (!op)
        return;
    entry->poster = NULL;
    if (op->is_batch) {
        mbox_batch_note(op, 1, result, ready);
        return;
    }
    op->entry = NULL;
    mbox_op_finish(op, result, ready);
}

void mbox_batch_note(struct mbox_op *op, uint64_t n, int result, struct mbox_ready *ready)
{
    if (op->result == 0 && result == 0)
        op->n_stored += n;
    else if (op->result == 0)
        op->result = result;
    op->n_storing -= n;
    if (op->n_storing > 0)
        return;
    op->is_batch = false;
    mbox_op_finish(op, op->result, ready);
}
