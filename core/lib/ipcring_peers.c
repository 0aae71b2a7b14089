/* Roles, and what dead peers leave behind.
 *
 * A ring made for one producer or one consumer has a word for each role, which holds the id of the process
 * that has it. A successor takes the word over by compare-and-swap (K), once the holder has given it back or
 * is surely dead. With many producers a dead one may leave a claimed slot, before which tail stands still:
 * any consumer that can judge the claimer turns the claim into SKIP.
 *
 * Nothing here is owned beyond the handle, and there is no lock. The one who judges may die too: its successor
 * finds the same word and judges again. */
#include "ipcring_daemon.h"
#include "ipcring_internal.h"

/* A claim is judged when it has been in the way for this long. */
#define JUDGE_FIRST_NS 1000000

/* Return: whether @id claimed something and is surely dead. */
static bool is_dead(const struct ipcring *ring, uint32_t id)
{
    return ring->can_judge && !(id & IPCRING_ID_FOREIGN) && id != ring->id &&
           ipcring_os_claimer_is_dead(id);
}

int ipcring_take_role(struct ipcring *ring, _Atomic uint32_t *role)
{
    uint32_t holder = atomic_load_explicit(role, memory_order_acquire); /* K */

    if (holder != 0 && !is_dead(ring, holder))
        return -EBUSY;
    if (!atomic_compare_exchange_strong_explicit(role, &holder, ring->id, memory_order_acq_rel,
                                                 memory_order_relaxed)) /* K */
        return -EBUSY;
    return 0;
}

static void give_role_back(struct ipcring *ring, _Atomic uint32_t *role)
{
    uint32_t holder = ring->id;

    atomic_compare_exchange_strong_explicit(role, &holder, 0, memory_order_acq_rel,
                                            memory_order_relaxed); /* K */
}

bool ipcring_unblock(struct ipcring *ring, uint64_t pos, uint64_t word)
{
    uint64_t now = now_ns();
    uint64_t skip = ipcring_word(ipcring_word_lap(word), IPCRING_SKIP, 0);

    if (ring->blocked_word != word || ring->blocked_pos != pos) {
        ring->blocked_word = word;
        ring->blocked_pos = pos;
        ring->judge_at_ns = now + JUDGE_FIRST_NS;
        return false;
    }
    if (now < ring->judge_at_ns)
        return false;
    ring->judge_at_ns = now + IPCRING_JUDGE_NS;
    if (!is_dead(ring, ipcring_word_low(word)))
        return false;
    if (atomic_compare_exchange_strong(slot_word(ring, pos), &word, skip)) /* A */
        ring->stat.n_skipped++;
    advance_head(ring, pos);
    return true;
}

void ipcring_leave_roles(struct ipcring *ring)
{
    if (ring->is_producer)
        give_role_back(ring, ring->producer);
    if (ring->is_consumer)
        give_role_back(ring, ring->consumer);
    ring->is_producer = ring->is_consumer = false;
    /* What comes next goes where the role is taken. */
    stop_put(ring);
    stop_get(ring);
}

void ipcring_be_brief(struct ipcring *ring)
{
    ring->can_judge = false;
    ring->is_brief = true;
}
