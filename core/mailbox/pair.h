/* A link: two ends, each with a mailbox that only the other end posts to.
 *
 * An end lives as long as its mailbox, its inbox, by the inbox's references; the link is released
 * when both have gone.
 *
 * Context: any thread, no lock held. */
#ifndef IPCFS_CORE_LINK_H
#define IPCFS_CORE_LINK_H

#include "mbox.h"

struct link;

struct link_end {
    struct mbox inbox;
    struct link *link;
};

struct link {
    atomic_uint n_ends;
    void (*release)(struct link *link);
    struct link_end ends[2];
};

/* Makes a link with one reference to each inbox, the caller's. @release frees what embeds it. */
void link_init(struct link *link, struct mbox_domain *domain, void (*release)(struct link *link));

/* Return: the end at the other side. */
struct link_end *link_other(struct link_end *end);

/* Nobody is at @end any more: its inbox is removed, and that of the other end, which may still have
 * messages, is closed. The caller holds references to both. */
void link_leave(struct link_end *end, struct mbox_ready *ready);

/* Return: what a sender is told whose post to the other end's inbox ended with @result. -EPIPE: the
 * other end has been left; -EIDRM: the sender's own; all else is as mbox_post says. */
int link_send_result(int result);

#endif
