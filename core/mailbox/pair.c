#include "pair.h"

#include <errno.h>

static void end_release(struct mbox *inbox)
{
    struct link_end *end = (struct link_end *)((char *)inbox - offsetof(struct link_end, inbox));
    struct mbox_ready nobody = TAILQ_HEAD_INITIALIZER(nobody);
    struct link *link = end->link;

    mbox_remove(inbox, true, &nobody);
    mbox_deinit(inbox);
    if (atomic_fetch_sub_explicit(&link->n_ends, 1, memory_order_acq_rel) == 1)
        link->release(link);
}

void link_init(struct link *link, struct mbox_domain *domain, void (*release)(struct link *link))
{
    atomic_init(&link->n_ends, 2);
    link->release = release;
    for (unsigned int i = 0; i < 2; i++) {
        mbox_init(&link->ends[i].inbox, domain, end_release);
        link->ends[i].link = link;
    }
}

struct link_end *link_other(struct link_end *end)
{
    struct link_end *ends = end->link->ends;

    return end == &ends[0] ? &ends[1] : &ends[0];
}

void link_leave(struct link_end *end, struct mbox_ready *ready)
{
    mbox_remove_and_close(&end->inbox, &link_other(end)->inbox, ready);
}

int link_send_result(int result)
{
    switch (result) {
    case -EIDRM:
        return -EPIPE;
    case -EPIPE:
        return -EIDRM;
    default:
        return result;
    }
}
