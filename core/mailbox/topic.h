/* A topic: a name for the subscriptions that there are. What is published goes to each of them, in one order for all.
 *
 * A topic is the backend of a mailbox, whose files and senders are then the topic's: a publication is a message that is posted
 * there. It stays nowhere but in the subscriptions, each a mailbox of its own, and in the history; all share the one message.
 * It goes to all or to none: while one of them blocks and has no room the sender waits, before anybody has it.
 *
 * Locks: the topic's mailbox's guards the list of subscriptions and the history, and is held while a message is put into
 * one subscription after the other; a subscription's mailbox's is taken inside it, for that one step, and never the other way
 * round. So two topics have no lock in common but leaves, and what a publication makes receivers have is given to them once no
 * lock is held (mbox_ready_run).
 *
 * References: a subscription that is linked is one to its mailbox, and has one to its topic's mailbox. It is unlinked when its
 * mailbox is removed, or the topic.
 *
 * With a journal (journal.h) a publication goes there first, with a copy for each subscription that is kept, all of them in
 * one transaction; the subscriptions have the message once the journal has that. What began to subscribe in between has it
 * too, behind the history.
 *
 * Quotas: a message counts once for its sender while one subscription has it; its entry in each for the one whose
 * subscription that is, but for some few that count with the mailbox; and what is only in the history for the topic's owner, with what his bounds allow.
 *
 * Context: any thread that holds no mailbox's lock; nothing waits. What makes and ends a topic or a subscription runs while nobody else
 * has it. */
#ifndef IPCFS_CORE_TOPIC_H
#define IPCFS_CORE_TOPIC_H

#include "mbox_feed.h"

struct topic;

struct subscription {
    struct mbox *mbox; /* the user's, who embeds both */
    struct topic *topic;
    struct mbox_feed feed;
    TAILQ_ENTRY(subscription) link; /* under the topic's lock */
    bool is_linked;                 /* the same */
    uint64_t number;                /* the same: as they began */
};

struct topic_history_item;
struct topic_publication;

struct topic {
    struct mbox_backend backend;
    struct mbox *
        mbox; /* the user's, who embeds both; its limits say how long a message, and how large the history may be */
    struct mbox_feed_counts counts;
    /* Under the mailbox's lock: */
    uid_t uid; /* for whom the history counts */
    TAILQ_HEAD(subscriptions, subscription) subscriptions;
    uint64_t n_subscriptions;
    uint64_t n_delivered;
    uint64_t n_unheard;                     /* published, and there was no subscription */
    uint64_t history;                       /* how many a new subscription begins with */
    TAILQ_HEAD(, topic_history_item) items; /* the oldest first */
    uint64_t n_items;
    uint64_t n_item_bytes;
    TAILQ_HEAD(, topic_publication) publications; /* that the journal is told of, in their order */
    uint64_t n_begun;                             /* subscriptions that ever were */
};

struct topic_stat {
    uint64_t n_published;
    uint64_t n_subscriptions;
    uint64_t n_delivered;
    uint64_t n_dropped; /* by subscriptions, or for want of them */
    uint64_t n_senders_waiting;
    struct timespec last_publication;
};

/* Makes a zeroed @topic of user @uid's the backend of @mbox, which is new. */
void topic_init(struct topic *topic, struct mbox *mbox, uid_t uid);

/* Its mailbox has been removed, and is about to be freed. */
void topic_deinit(struct topic *topic);

/* Its history counts for @uid from now on, as far as it is new. */
void topic_set_uid(struct topic *topic, uid_t uid);

/* Takes settings in text form: history=N, message_bytes=SIZE, bytes=SIZE, durable=no|daemon|disk. Return: 0; -EINVAL: nothing was
 * changed; -EIDRM. */
int topic_configure(struct topic *topic, const char *text, size_t n, struct mbox_ready *ready);

#define TOPIC_CONFIG_TEXT_MAX MBOX_LIMITS_TEXT_MAX

/* Writes them, ended by NUL. Return: 0; -EIDRM. */
int topic_get_config(struct topic *topic, char ret_text[TOPIC_CONFIG_TEXT_MAX]);

/* Return: 0; -EIDRM. */
int topic_get_stat(struct topic *topic, struct topic_stat *ret_stat);

/* Makes a zeroed @subscription to @topic of @mbox, which is new and user @uid's; full, it drops what is oldest until it
 * is told otherwise. With @is_kept the topic can't be removed without force while it is there. */
void subscription_init(struct subscription *subscription, struct topic *topic, struct mbox *mbox,
                       uid_t uid, bool is_kept);

/* From now on it gets what is published, after what the history has. Return: 0; -EIDRM: the topic is removed. */
int subscription_begin(struct subscription *subscription, struct mbox_ready *ready);

/* It has never begun, or its mailbox has been removed, and is about to be freed. */
void subscription_deinit(struct subscription *subscription);

#endif
