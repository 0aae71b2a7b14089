/* A mailbox: a bounded queue of messages between those who post and those who take.
 *
 * The engine never blocks. Who must wait leaves a struct mbox_op behind; whichever thread makes
 * the waiting end moves the op to the list of struct mbox_ready that its caller gave, and
 * mbox_ready_run(), called with no lock held, completes them. Completing one may make others
 * ready; they join the same list, so a chain of any length runs in one loop.
 *
 * A message is taken in two steps: mbox_take() hands it out ("in flight"), and then mbox_commit()
 * says that it has arrived, or mbox_abort() that it has not, and then it goes back to where it was.
 * So who dies between waiting and receiving takes nothing. Its room is free from the first step on:
 * who has received can send at once. An undelivered message may therefore find its mailbox full,
 * and goes in all the same. The sender of a rendezvous waits for the second step. Its charge it keeps until its
 * last reference is gone, or until who has it in flight gives it back (mbox_entry_discharge).
 *
 * A message whose bytes come bit by bit has its place reserved first (mbox_reserve), so that it is
 * sure to go in once it is whole (mbox_post_reserved).
 *
 * A mailbox may keep its messages elsewhere (struct mbox_backend): in a ring, which others fill and empty as
 * well. Then its own queue holds only what was handed out and came back.
 *
 * Ownership: a mailbox is embedded in what its user makes of it and counted by references; the
 * last mbox_unref() calls mbox->release. A message in the mailbox has an entry there (entry.h), which
 * mbox_take() passes to the taker. An op belongs to its caller, save between a call that returned
 * MBOX_PARKED and its completion.
 *
 * Context: any thread, no lock held but the name table's. Each mailbox has one lock, taken inside;
 * no callback but mbox_watch.fire runs under it. */
#ifndef IPCFS_CORE_MBOX_H
#define IPCFS_CORE_MBOX_H

#include <pthread.h>
#include <sys/queue.h>

#include "expiry.h"
#include "limits.h"
#include "msg.h"
#include "msgq.h"
#include "places.h"
#include "quota.h"

struct journal_box;
struct journal_note;
struct mbox_journal;
struct name;

#define MBOX_DOMAIN_ID_DIGITS 32

/* The name of the header that tells which mailbox gave a message up. */
#define MBOX_DEAD_HEADER "dead-from"

/* What all mailboxes of one mount share. */
struct mbox_domain {
    struct quota quota;
    struct mbox_journal
        *journal; /* set before there are mailboxes; NULL: nothing is kept (journal.h) */
    _Atomic uint64_t last_id;
    _Atomic uint64_t ids_wanted; /* once last_id is here, the journal is to set more ids aside */
    /* Random, in hexadecimal: with a message's id, a name for it that no other mount gives. Set before the first
     * message; what outlives the daemon sets it to what it was. */
    char id[MBOX_DOMAIN_ID_DIGITS + 1];
    struct expiry expiry;
    atomic_bool
        is_ending; /* what is removed and kept from now on is there again after the next start */
    /* Which mailbox is called @name, and may have what @mbox gives up (limits.dead): one of the same owner's. What @mbox is
     * called goes to @ret_from. Called without a lock. Return: with a reference; NULL: there is none. The user of the
     * domain may set it; NULL: there never is one. */
    struct mbox *(*find_dead)(struct mbox *mbox, const char *name,
                              char ret_from[MBOX_NAME_BYTES_MAX + 1]);
};

TAILQ_HEAD(mbox_ready, mbox_op);
TAILQ_HEAD(mbox_watch_list, mbox_watch);

/* The states of an op, under the mailbox's lock. Only these moves exist (mbox_op_move):
 *
 *   IDLE ──────> WAITING      the call leaves it behind
 *   any but STORING ─> STORING    what it did is being noted in the journal
 *   STORING ───> DONE         that is noted, or can't be; or cancelled
 *   WAITING ───> DONE         a send finds room, a receive a message; or cancelled
 *   WAITING ───> IN_FLIGHT    a send of a rendezvous, while its receiver is told
 *   IN_FLIGHT ─> DONE         the receiver has it; or the send is over for another reason
 *   IN_FLIGHT ─> WAITING      the receiver has it not
 *   WAITING ───> IDLE         within its call: it may not wait after all
 *   DONE ──────> WAITING      a completed op is used for another call */
enum mbox_op_state {
    MBOX_OP_IDLE,
    MBOX_OP_WAITING,
    MBOX_OP_IN_FLIGHT,
    MBOX_OP_STORING,
    MBOX_OP_DONE,
};

/* One send or receive that may have to wait. Zero it, then set the first group. */
struct mbox_op {
    /* Called from mbox_ready_run once the waiting is over; @op is the callback's to free. */
    void (*complete)(struct mbox_op *op, struct mbox_ready *ready);
    bool nonblock;    /* don't wait: -EAGAIN */
    size_t max_bytes; /* receive: a longer message is refused with -EMSGSIZE and stays */
    bool leases;      /* receive: the message goes on lease (lease.h) */
    pid_t who;        /* receive: which thread, for the caller's may_receive (mbox_claim) */
    uint64_t seen;    /* receive: the last id that this reader got, where the backend asks for it */

    /* For complete(). */
    int result;               /* 0 or a negative errno */
    struct mbox_entry *entry; /* receive, result 0: the message's place, in flight */

    /* The mailbox's. */
    enum mbox_op_state state;
    bool cancelled;
    bool has_place; /* mbox_post_reserved: it is never refused */
    bool is_batch;  /* between mbox_batch_begin and the completion */
    bool has_moved; /* a message, by a batch, which waits for the journal to have that, too */
    bool has_moved_on_disk; /* and the disk */
    uint64_t
        n_storing; /* messages of a batch that are not stored yet, and one while more may come */
    uint64_t n_stored; /* messages of a batch that are, before the first that can't be */
    TAILQ_ENTRY(mbox_op) link;
};

/* A call left its op behind. */
#define MBOX_PARKED 1

/* What a mailbox is ready for. */
#define MBOX_READABLE 1U /* a receive would not wait */
#define MBOX_WRITABLE 2U /* a send of the smallest message would not wait */
#define MBOX_REMOVED 4U  /* the mailbox is gone; both would fail */
#define MBOX_CLOSED 8U   /* nobody can send any more; comes with the first two */

/* One who wants to be told once when the mailbox becomes ready for something. */
struct mbox_watch {
    unsigned int events; /* MBOX_READABLE, MBOX_WRITABLE; MBOX_REMOVED always counts */
    /* Called under the mailbox's lock: may only note it down for later. */
    void (*fire)(struct mbox_watch *watch);

    /* The mailbox's. */
    bool armed;
    TAILQ_ENTRY(mbox_watch) link;
};

struct mbox_stat {
    uint64_t n_messages; /* waiting */
    uint64_t n_bytes;
    uint64_t n_sent;
    uint64_t n_received;
    uint64_t n_dropped;
    uint64_t n_rejected;
    uint64_t n_expired;  /* waited too long; some of them went to the dead */
    uint64_t n_dead;     /* went to the mailbox that limits.dead names */
    uint64_t n_leased;   /* are on lease */
    uint64_t n_reserved; /* places that are taken but not filled yet */
    uint64_t n_kept;     /* of those that wait: the journal has them */
    uint64_t n_kept_bytes;
    uint64_t n_storing; /* wait for the journal */
    uint64_t durable;   /* enum mbox_durable */
    bool is_kept;       /* the mailbox is in the journal; else these are 0 */
    uint64_t n_senders_waiting;
    uint64_t n_receivers_waiting;
    struct timespec last_send; /* CLOCK_REALTIME; zero: never */
    struct timespec last_receive;
    pid_t owner_pid; /* 0: none */
};

/* Where a mailbox keeps its messages, if not in a queue of its own. */
struct mbox_backend;

/* Each is called under the mailbox's lock, and does not wait. Before -EAGAIN can end, the backend calls
 * mbox_settle(), if it was asked to by want(). Any error but -EAGAIN ends the call that met it. */
struct mbox_backend_ops {
    /* Whether what there is for a receiver depends on what it has seen: none waits behind another. */
    bool tells_each;
    /* Puts @msg in, as a copy, or with references of its own; then nobody else changes it any more.
     * Return: 0; -EAGAIN: full; a negative errno. */
    int (*put)(struct mbox_backend *backend, struct msg *msg, struct mbox_ready *ready);
    /* Puts the first of @n messages at @msgs in, all at one time. Return: how many; 0: ask put(). May be NULL. */
    size_t (*put_many)(struct mbox_backend *backend, struct msg *const *msgs, size_t n,
                       struct mbox_ready *ready);
    /* Takes the next message out, a new one; its id may be set. Return: 0 with *ret_msg; -EAGAIN: empty; -EMSGSIZE: longer
     * than @op's max_bytes, and it stays; a negative errno. */
    int (*get)(struct mbox_backend *backend, const struct mbox_op *op, struct msg **ret_msg);
    /* With tells_each. Return: whether one who has seen @seen would find something; and what one has seen who comes now. May
     * be NULL: nobody asks. */
    bool (*has_for)(struct mbox_backend *backend, uint64_t seen);
    uint64_t (*begin)(struct mbox_backend *backend);
    /* Return: MBOX_READABLE, MBOX_WRITABLE: what would not answer -EAGAIN. */
    unsigned int (*readiness)(struct mbox_backend *backend);
    /* Return: whether messages are in it. */
    bool (*has_messages)(struct mbox_backend *backend);
    /* Somebody waits for one of these. */
    void (*want)(struct mbox_backend *backend, unsigned int events);
    /* For a mailbox that is kept in a journal; all NULL in others. Whether what is put now is for the journal first: then
     * stage() is called in the place of put(). */
    bool (*stages)(struct mbox_backend *backend);
    /* Publishes @entry, which has a note, in the journal. Return: 0: stored() follows; as put. */
    int (*stage)(struct mbox_backend *backend, struct mbox_entry *entry, struct mbox_ready *ready);
    /* The journal has @entry, which is the backend's now, or @result says why not. The mailbox may be removed. */
    void (*stored)(struct mbox_backend *backend, struct mbox_entry *entry, int result,
                   struct mbox_ready *ready);
    /* Writes its settings, in the place of the mailbox's limits, to @text of MBOX_LIMITS_TEXT_MAX bytes. Return: how
     * many. */
    size_t (*format)(struct mbox_backend *backend, char *text);
    /* @msg was published as remembered, after all that were restored before: takes @note. Return: 0; -ENOMEM. */
    int (*restore)(struct mbox_backend *backend, struct msg *msg, struct journal_note *note);
    /* The mailbox is removed: nothing of the above but stored() is called any more. */
    void (*end)(struct mbox_backend *backend, struct mbox_ready *ready);
};

struct mbox_backend {
    const struct mbox_backend_ops *ops;
};

struct asker;
TAILQ_HEAD(asker_list, asker);

/* The questions that were sent to a mailbox and have no answer yet (call.h). */
struct calls {
    struct asker *by_id;
    struct asker_list list;  /* those that can be answered, as they came */
    struct asker_list ended; /* whose askers are to be told; empty while nobody has the lock */
    uint64_t last_seq;       /* in the list */
};

/* So many messages that wait in a mailbox that is filled from elsewhere count with the mailbox. */
#define MBOX_FEED_FREE_ENTRIES 8

/* What a mailbox tells whoever fills it (mbox_feed.h), and counts for it. Its members are under the mailbox's lock, but for
 * what its user sets before the mailbox is used. */
struct mbox_feed {
    struct mbox_feed_counts *counts; /* the user's */
    struct mbox_op wake; /* the user sets its complete(), which begins with mbox_feed_woken() */
    uid_t uid;           /* for whom entries count */
    uint64_t n_charged;  /* how many entries are charged, beside MBOX_FEED_FREE_ENTRIES */
    bool is_kept;        /* counted in counts->n_kept until the mailbox is removed */
    bool is_waking;      /* wake is in a list, and has a reference to the mailbox */
    bool is_ended;       /* the mailbox is removed, which was told */
    bool blocks;         /* counted in counts->n_blocking: who fills it waits for room */
    bool is_full; /* counted in counts->n_full: it blocks, and the smallest message finds no room */
    bool is_awaited; /* a message of awaited_bytes has found no room */
    size_t awaited_bytes;
    uint64_t n_missed; /* by who takes the next message */
};

struct mbox {
    atomic_uint n_refs;
    void (*release)(struct mbox *mbox); /* called by the last unref */
    /* Called once when the mailbox is removed, under its lock; takes no lock but a leaf. May be NULL. */
    void (*ended)(struct mbox *mbox);
    struct mbox_domain *domain;

    struct mbox_backend *backend; /* set before the mailbox is used; NULL: none */
    struct mbox_feed *feed;       /* the same */

    struct name *name; /* the name table's, under its lock; NULL: none */

    struct journal_box *kept; /* the journal's, under lock; NULL: nothing of it is kept */

    pthread_mutex_t lock;
    /* All below under lock. */
    bool removed;
    bool closed;
    struct mbox_limits limits;
    struct msgq queue;   /* waiting messages */
    struct msgq pending; /* messages whose senders wait: for room, or in a rendezvous */
    /* Those of them for whom there would be room but for places, which take more from who holds some. They hold up
     * nobody else. Of one priority they are in their order. */
    struct mbox_entries behind_places;
    struct places places;
    struct mbox_entries storing; /* those that the journal is told of (enum mbox_storing) */
    uint64_t n_posting; /* of them, those that will be in the queue; they take room already */
    uint64_t n_posting_bytes;
    struct mbox_entry *by_id; /* the queue's, while is_indexed */
    struct mbox_entry *spare; /* for the next message from the backend; or NULL */
    bool is_indexed;          /* somebody has asked for a message by its id */
    uint64_t last_seq;
    struct calls calls; /* call.h */
    int failure;        /* an inbox's: what the next receiver gets instead of a message; 0: none */
    struct mbox_entries leased;  /* messages on lease, the oldest lease first */
    struct mbox_entries expired; /* on their way to limits.dead */
    struct mbox_op undertaker;   /* takes them there */
    bool is_burying; /* it is in somebody's list of ops that are ready, with a reference */
    struct expiry_place expiry_place;
    struct mbox_ready takers;       /* receivers that wait, oldest first */
    struct mbox_watch_list watches; /* the armed ones */
    struct mbox_stat stat; /* the counters; how many wait or are reserved is told when asked for */
};

void mbox_domain_init(struct mbox_domain *domain, uint64_t max_bytes, uint64_t uid_bytes);
void mbox_domain_deinit(struct mbox_domain *domain);

/* Makes an empty mailbox with one reference, the caller's. @release frees what embeds it. */
void mbox_init(struct mbox *mbox, struct mbox_domain *domain, void (*release)(struct mbox *mbox));

/* For @release: the mailbox has been removed. */
void mbox_deinit(struct mbox *mbox);

/* Return: @mbox, with a reference more. */
struct mbox *mbox_ref(struct mbox *mbox);

/* For a table that holds no reference, and that @mbox->release takes @mbox out of, under one lock
 * with this. Return: @mbox; NULL: it has no reference left. */
struct mbox *mbox_try_ref(struct mbox *mbox);

void mbox_unref(struct mbox *mbox);

/* Posts @msg; its quota is charged to its sender.
 * With @op NULL it never parks. With @op it parks where it must wait, unless op->nonblock; a
 * rendezvous parks in any case while its receiver is told, and a mailbox whose messages are kept until the journal has
 * the message. Under drop-oldest a message that is less urgent
 * than all that waits in a full mailbox is itself dropped, and was sent.
 * Return: 0: the mailbox has it (and its own reference to it); MBOX_PARKED: op->complete() will
 * tell; or, nothing being posted: -EAGAIN: it would wait, or needs an op for a rendezvous or the journal;
 * -EMSGSIZE: longer than one message may be; -ENOBUFS: full, and the policy is to reject;
 * -ENOSPC, -EDQUOT, -ENOMEM as quota_charge; -EIDRM: removed; -EPIPE: closed; -EPERM: the
 * sender owns the mailbox; -EINTR: op was cancelled before. */
int mbox_post(struct mbox *mbox, struct msg *msg, struct mbox_op *op, struct mbox_ready *ready);

/* Posts some of the @n messages at @msgs, in their order, as mbox_post without an op would one by one; no more than takes about
 * a millisecond. Return: how many the mailbox has; 0: mbox_post tells why. */
size_t mbox_post_many(struct mbox *mbox, struct msg *const *msgs, size_t n,
                      struct mbox_ready *ready);

/* As mbox_post, with the place that was made for the message before, so that no memory is needed for it. It is the
 * mailbox's, or freed on failure. Return: as mbox_post; -ENOMEM: @entry is NULL. */
int mbox_post_entry(struct mbox *mbox, struct mbox_entry *entry, struct mbox_op *op,
                    struct mbox_ready *ready);

/* From now on sends with @op are one batch: mbox_post() with it returns 0 where the mailbox has the message, noted in the
 * journal or not yet, and never parks. After a failure no more may be sent with it. Or leases that end are one:
 * mbox_lease_end() with it returns MBOX_PARKED where the journal is still to have that, and only the batch is told of. */
void mbox_batch_begin(struct mbox_op *op);

/* With @op, a batch, a message is moved from one mailbox to another, one of which is kept; @on_disk: on the disk. Under
 * the lock of the mailbox that the batch is of. */
static inline void mbox_batch_move(struct mbox_op *op, bool on_disk)
{
    op->has_moved = true;
    op->has_moved_on_disk |= on_disk;
}

/* No more will be done with @op. Return: MBOX_PARKED: op->complete() will tell when all are noted; 0: they are, and
 * nothing will come. op->n_stored tells how many are: all before the first that could not be, for which op->result says
 * why. */
int mbox_batch_end(struct mbox *mbox, struct mbox_op *op, struct mbox_ready *ready);

/* Takes a place for a message of @sender's, waiting as mbox_post does and failing as it does; what an
 * empty message costs is charged to @sender. Under drop-oldest nothing is dropped yet. Return: as mbox_post. */
int mbox_reserve(struct mbox *mbox, struct msg_sender sender, struct mbox_op *op,
                 struct mbox_ready *ready);

/* Puts @msg into the place that was reserved, however full the mailbox is now. The caller has
 * charged what the message costs more than an empty one; that charge goes with the message, and is
 * released with the place on failure. There must be an @op: the mailbox may have become a rendezvous.
 * Return: 0; MBOX_PARKED: a rendezvous; -EIDRM; -EPIPE; -EINTR. The place is used up in any case. */
int mbox_post_reserved(struct mbox *mbox, struct msg *msg, struct mbox_op *op,
                       struct mbox_ready *ready);

/* Gives the place back, and the charge for an empty message. */
void mbox_unreserve(struct mbox *mbox, struct msg_sender sender, struct mbox_ready *ready);

/* Takes the next message that fits @op->max_bytes. @op may be on the stack when op->nonblock.
 * Return: 0: *ret_entry is in flight, and the caller's, who must commit or abort;
 * MBOX_PARKED; -EAGAIN; -EMSGSIZE: the next message is longer than max_bytes, and stays; -EIDRM;
 * -EPIPE: closed, and none is left; -EINTR. */
int mbox_take(struct mbox *mbox, struct mbox_op *op, struct mbox_entry **ret_entry,
              struct mbox_ready *ready);

/* What a message may take at most of what a receiver has room for. It only looks. */
typedef size_t mbox_entry_cost(const struct mbox_entry *entry);

/* Takes at one go what mbox_take would hand out one by one, while their @cost together is within @room, and adds it to @entries: all
 * in flight, and the caller's. Only what can't matter to others is taken so: nothing where senders wait, or where there is
 * a backend. Return: how many; 0: ask mbox_take. */
size_t mbox_take_many(struct mbox *mbox, mbox_entry_cost *cost, size_t room,
                      struct mbox_entries *entries, struct mbox_ready *ready);

/* @entry, in flight, has arrived. It is the caller's to free, as soon or late as it likes. */
void mbox_commit(struct mbox *mbox, struct mbox_entry *entry, struct mbox_ready *ready);

/* @entry, in flight, could not be delivered: it returns to its place, and is the mailbox's. */
void mbox_abort(struct mbox *mbox, struct mbox_entry *entry, struct mbox_ready *ready);

/* Ends the waiting of @op: if it waits, it completes with -EINTR; if it has not been parked yet,
 * the call that would do so returns -EINTR. If it has completed or is about to, nothing changes.
 * A rendezvous in flight ends with what becomes of the message, and else with -EINTR. */
void mbox_cancel(struct mbox *mbox, struct mbox_op *op, struct mbox_ready *ready);

/* Return: what the mailbox is ready for now. With @watch, whose events and fire are set, arms it
 * too: it fires once, at the next change that matters to it. */
unsigned int mbox_poll(struct mbox *mbox, struct mbox_watch *watch);

/* As mbox_poll, for one who sends at @prio, not at 0: others who wait may be less urgent. Return: as mbox_poll. */
unsigned int mbox_poll_at(struct mbox *mbox, unsigned int prio, struct mbox_watch *watch);

/* Lets go what has waited too long and is still there, for the timer may be late. Before a poll: a receiver would not get
 * that either. */
void mbox_let_expire(struct mbox *mbox, struct mbox_ready *ready);

/* Where the backend tells each (mbox_backend_ops.tells_each). Return: whether a receiver that has seen @seen would get
 * something; else false. */
bool mbox_has_for(struct mbox *mbox, uint64_t seen);

/* Return: whether messages depend on mbox_op.seen: who got one meanwhile has seen more. */
bool mbox_asks_seen(struct mbox *mbox);

/* Return: the mbox_op.seen of a receiver that comes now; 0 where the backend does not ask for it. */
uint64_t mbox_begin(struct mbox *mbox);

/* Disarms @watch, which may be disarmed already; it does not fire after this. */
void mbox_unwatch(struct mbox *mbox, struct mbox_watch *watch);

/* Takes settings in text form (limits.h); those who wait are judged by the new ones.
 * Return: 0; -EINVAL, also for a journal that there is not; -ENOMEM, or there can be no timer: nothing was changed; -EIDRM. */
int mbox_configure(struct mbox *mbox, const char *text, size_t n, struct mbox_ready *ready);

/* Return: 0; -EIDRM. */
int mbox_get_limits(struct mbox *mbox, struct mbox_limits *ret_limits);
int mbox_get_stat(struct mbox *mbox, struct mbox_stat *ret_stat);

/* What waits in the queue can be looked at and picked from. A message in flight is not there. */

/* Return: message @id, with a reference for the caller; NULL: it does not wait here. */
struct msg *mbox_find(struct mbox *mbox, uint64_t id);

/* Calls @visit with message @id's place. Return: 0; -ENOENT: it does not wait here.
 * Context: @visit is called under the mailbox's lock: it only copies what it needs. */
int mbox_visit(struct mbox *mbox, uint64_t id,
               void (*visit)(const struct mbox_entry *entry, void *arg), void *arg);

/* As mbox_find, for user @uid, who keeps it: once the message is out of the mailbox it counts for them, until
 * msg_let_go. Return: as mbox_find. */
struct msg *mbox_hold(struct mbox *mbox, uint64_t id, uid_t uid);

/* Takes message @id out for good; it counts as received. Return: 0; MBOX_PARKED: op->complete() will tell once the
 * journal has it; where it can't, the message returns to its place; -ENOENT; -EIDRM. */
int mbox_pick(struct mbox *mbox, uint64_t id, struct mbox_op *op, struct mbox_ready *ready);

/* Moves message @id to the end of its priority in @to; it keeps its id and its sender's charge, and
 * counts as received here and sent there. At every moment it is in one of the two, in the journal too.
 * @op may be NULL: nobody waits for the journal. Else it is given to @to, and mbox_cancel(@to) ends its waiting: the message
 * has moved all the same.
 * Return: 0; MBOX_PARKED: it has moved, and op->complete() will tell once the journal has that; -ENOMEM; -ENOENT; -EIDRM;
 * -EPIPE; -EEXIST: @to has it already; as mbox_post for a full @to: -EAGAIN, -ENOBUFS, -EMSGSIZE. */
int mbox_move(struct mbox *mbox, struct mbox *to, uint64_t id, struct mbox_op *op,
              struct mbox_ready *ready);

/* Copies who waits for a message (mbox_op.who), the oldest first, up to @n_max. Return: how many. */
size_t mbox_takers(struct mbox *mbox, pid_t *ret_who, size_t n_max);

/* Makes process @pid the owner, who may not send (mbox_post: -EPERM). Who may receive is for the
 * caller to say: each receiver that waits and for which @may_receive is false ends with -EBUSY.
 * Return: 0; -EBUSY: there is an owner; -EIDRM.
 * Context: @may_receive is called under the mailbox's lock, for each receiver: it only looks up what has been
 * found out before. */
int mbox_claim(struct mbox *mbox, pid_t pid,
               bool (*may_receive)(const struct mbox_op *op, void *arg), void *arg,
               struct mbox_ready *ready);

/* Return: the owner's pid; 0: none, as in a mailbox that is removed. */
pid_t mbox_owner(struct mbox *mbox);

/* Nobody is left who could send: senders, those who wait too, get -EPIPE; receivers get what is there,
 * and then -EPIPE. */
void mbox_close(struct mbox *mbox, struct mbox_ready *ready);

/* Ends the mailbox, when it is empty or with @force: who waits gets -EIDRM, messages are dropped.
 * A reserved place is no message: it does not keep the mailbox, and filling it is -EIDRM then.
 * Return: 0; -ENOTEMPTY: messages wait; -EIDRM: removed before. */
int mbox_remove(struct mbox *mbox, bool force, struct mbox_ready *ready);

/* What is in the mailbox's backend may have changed: serves those who wait, and wakes those who watch for
 * @events whatever the backend's readiness says. Return: which events are still waited for. */
unsigned int mbox_settle(struct mbox *mbox, unsigned int events, struct mbox_ready *ready);

/* Removes one, messages or not, and closes the other, at one moment: who is woken by the one finds the other
 * so too. */
void mbox_remove_and_close(struct mbox *removed, struct mbox *closed, struct mbox_ready *ready);

/* Completes the ops in @ready until there are none. No lock may be held. */
void mbox_ready_run(struct mbox_ready *ready);

/* As mbox_ready_run, but no more than @n_max of them. Return: how many; fewer than @n_max: there are none left. */
unsigned int mbox_ready_run_some(struct mbox_ready *ready, unsigned int n_max);

#endif
