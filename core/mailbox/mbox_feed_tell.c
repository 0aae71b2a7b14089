/* Being told is an op like any other: it is put in the list of those that are ready, and completes when no lock is held. The
 * counts of those that block or are full are kept at each change, so that a publisher looks into none of them while there are
 * none. */
#include "mbox_feed_tell.h"

#include "mbox_op.h"
#include "mbox_queue.h"

bool mbox_feed_fits(const struct mbox *mbox, size_t size_bytes)
{
    return mbox_is_rendezvous(mbox) ? mbox_has_taker_for(mbox, size_bytes)
                                    : mbox_fits(mbox, size_bytes);
}

static bool blocks(const struct mbox *mbox)
{
    return !mbox->removed && mbox->limits.overflow == MBOX_OVERFLOW_BLOCK;
}

bool mbox_feed_makes_wait(const struct mbox *mbox, size_t size_bytes)
{
    return blocks(mbox) && size_bytes <= mbox->limits.bytes && !mbox_feed_fits(mbox, size_bytes);
}

/* Keeps *@is, one of those that @count counts, at @now. */
static void keep_count(_Atomic uint64_t *count, bool *is, bool now)
{
    if (*is == now)
        return;
    *is = now;
    if (now)
        atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
    else
        atomic_fetch_sub_explicit(count, 1, memory_order_relaxed);
}

static void wake(struct mbox *mbox, struct mbox_ready *ready)
{
    struct mbox_feed *feed = mbox->feed;

    if (feed->is_waking)
        return;
    feed->is_waking = true;
    mbox_ref(mbox);
    TAILQ_INSERT_TAIL(ready, &feed->wake, link);
}

/* So many are charged at once, so that not each message asks the quota. */
#define CHARGED_AT_ONCE 32U

static int charge_more(struct mbox *mbox, uint64_t n)
{
    int r = quota_charge(&mbox->domain->quota, mbox->feed->uid, n * MBOX_ENTRY_CHARGE_BYTES);

    if (r == 0)
        mbox->feed->n_charged += n;
    return r;
}

int mbox_feed_charge_entry(struct mbox *mbox)
{
    int r;

    if (mbox->queue.n_messages + mbox->n_posting < mbox->feed->n_charged + MBOX_FEED_FREE_ENTRIES)
        return 0;
    r = charge_more(mbox, CHARGED_AT_ONCE);
    return r < 0 ? charge_more(mbox, 1) : r;
}

/* Charges for what has come back, and releases what is charged for nothing. */
static void adjust_charge(struct mbox *mbox)
{
    struct quota *quota = &mbox->domain->quota;
    struct mbox_feed *feed = mbox->feed;
    uint64_t n = mbox->queue.n_messages + (mbox->removed ? 0 : mbox->n_posting);
    uint64_t n_wanted = n > MBOX_FEED_FREE_ENTRIES ? n - MBOX_FEED_FREE_ENTRIES : 0;

    if (n_wanted > feed->n_charged) {
        if (quota_restore(quota, feed->uid,
                          (uint64_t)(n_wanted - feed->n_charged) * MBOX_ENTRY_CHARGE_BYTES) == 0)
            feed->n_charged = n_wanted;
    } else if (n_wanted == 0 || feed->n_charged - n_wanted > UINT64_C(2) * CHARGED_AT_ONCE) {
        quota_release(quota, feed->uid,
                      (uint64_t)(feed->n_charged - n_wanted) * MBOX_ENTRY_CHARGE_BYTES);
        feed->n_charged = n_wanted;
    }
}

void mbox_feed_tell(struct mbox *mbox, struct mbox_ready *ready)
{
    struct mbox_feed *feed = mbox->feed;
    bool was_full = feed->is_full;
    bool is_told = !mbox->removed || feed->is_ended;

    adjust_charge(mbox);
    keep_count(&feed->counts->n_blocking, &feed->blocks, blocks(mbox));
    keep_count(&feed->counts->n_full, &feed->is_full, mbox_feed_makes_wait(mbox, 1));
    if (mbox->removed) {
        keep_count(&feed->counts->n_kept, &feed->is_kept, false);
        feed->is_ended = true;
    }
    if (!is_told || (was_full && !feed->is_full) ||
        (feed->is_awaited && !mbox_feed_makes_wait(mbox, feed->awaited_bytes))) {
        feed->is_awaited = false;
        wake(mbox, ready);
    }
}
