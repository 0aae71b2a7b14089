/* What there is of a ring that the mount serves (ring_mbox.h), for the files that serve it.
 *
 * It lives as long as its mailbox; each member says under which lock it is. */
#ifndef IPCFS_CORE_RING_STATE_H
#define IPCFS_CORE_RING_STATE_H

#include "core/lib/ipcring.h"
#include "core/mailbox/mbox.h"
#include "ring_memory.h"
#include "ring_waiter.h"

/* Somebody who holds the ring up, and may be dead. */
struct ring_suspect {
    uint64_t what;                  /* see ring_bury; 0: nobody */
    uint64_t since_ns;              /* when that was first seen, or its answer came */
    uint64_t seen_ns;               /* when it was last seen */
    uint64_t ino;                   /* ipcring_os_look's; 0: not known */
    bool is_known;                  /* it is who has that pid */
    struct ring_question *question; /* NULL: it was not asked */
};

struct ring_mbox {
    struct mbox *mbox;
    struct mbox bell;
    _Atomic uint64_t n_changes; /* the id of the bell's next message */
    _Atomic uint64_t n_told;    /* of which its watchers have been told */
    struct ring_judges *judges;

    struct mbox_backend backend;
    struct mbox_backend bell_backend;
    struct ring_wait data; /* where consumers wait */
    struct ring_wait space;
    /* Under the mailbox's lock: */
    struct ring_memory *memory; /* NULL: removed */
    struct ipcring *handle;
    uint64_t published; /* the position up to which messages have been seen */
    struct ring_skim skim;
    uint64_t last_seen; /* each: no mbox_op.seen of an earlier memory is greater */
    uint64_t base;      /* each: what mbox_op.seen is at position 0 */
    uint64_t n_missed;  /* each: by receivers here that were overtaken */
    struct ring_suspect suspects[RING_N_CLAIMS];
    uint64_t n_rung;
    struct ring_home home; /* and whom it is charged to */
};

#endif
