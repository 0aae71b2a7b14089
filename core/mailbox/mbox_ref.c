/* References to a mailbox: who has one may use it, removed or not, and the last one frees it. No lock. */
#include "mbox.h"

struct mbox *mbox_ref(struct mbox *mbox)
{
    /* Relaxed: as msg_ref. */
    atomic_fetch_add_explicit(&mbox->n_refs, 1, memory_order_relaxed);
    return mbox;
}

struct mbox *mbox_try_ref(struct mbox *mbox)
{
    unsigned int n = atomic_load_explicit(&mbox->n_refs, memory_order_relaxed);

    /* Relaxed: as msg_ref; the table's lock orders the rest. */
    while (n > 0 && !atomic_compare_exchange_weak_explicit(
                        &mbox->n_refs, &n, n + 1, memory_order_relaxed, memory_order_relaxed))
        ;
    return n > 0 ? mbox : NULL;
}

void mbox_unref(struct mbox *mbox)
{
    if (atomic_fetch_sub_explicit(&mbox->n_refs, 1, memory_order_acq_rel) == 1)
        mbox->release(mbox);
}
