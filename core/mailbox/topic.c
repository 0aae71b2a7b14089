/* A publication takes two steps under the topic's lock: each subscription that blocks is asked for room, and if one has
 * none the message waits with its sender in the topic's mailbox, as the first of those that do. Then it is put into each.
 * What a subscription loses in between (a limit that shrank, a message that came back) does not stop it: it is over its bounds
 * by one then.
 *
 * Where the topic is kept in a journal there is a third step between the two: each subscription that is kept gets an entry,
 * which takes room but is in no queue, and the journal is told of all of them. They go into the queues once it has them
 * (topic_stored), and those subscriptions that are not kept get the message then too, so that the order is one for all.
 *
 * A subscription that has room again, or is gone, wakes the topic once no lock is held (woken). */
#include "topic.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/settings.h"
#include "core/base/size.h"
#include "expiry.h"
#include "journal.h"
#include "mbox_keep.h"
#include "mbox_queue.h"
#include "mbox_settle.h"

/* A message of the history, which holds it. */
struct topic_history_item {
    struct msg *msg;
    struct mbox_journal *journal;
    struct journal_note *note; /* what the journal has of it; NULL: nothing */
    uid_t uid;                 /* for whom the item counts */
    TAILQ_ENTRY(topic_history_item) link;
};

#define ITEM_CHARGE_BYTES (sizeof(struct topic_history_item) + 16)

/* What becomes of a publication in one subscription. */
struct topic_copy {
    struct mbox *mbox; /* a reference */
    enum mbox_feed_stage stage;
    struct mbox_entry *entry; /* MBOX_FEED_STAGED */
};

/* A publication that the journal is told of. */
struct topic_publication {
    TAILQ_ENTRY(topic_publication) link;
    const struct mbox_entry *entry;
    uint64_t n_begun; /* topic->n_begun by then */
    uint64_t n_copies;
    struct topic_copy copies[];
};

static struct topic *of_backend(struct mbox_backend *backend)
{
    return (struct topic *)((char *)backend - offsetof(struct topic, backend));
}

static struct quota *quota_of(struct topic *topic)
{
    return &topic->mbox->domain->quota;
}

/* Return: is what is published now for the journal? */
static bool topic_is_durable(const struct topic *topic)
{
    return topic->mbox->limits.durable != MBOX_DURABLE_NO;
}

static void forget_oldest(struct topic *topic)
{
    struct topic_history_item *item = TAILQ_FIRST(&topic->items);

    TAILQ_REMOVE(&topic->items, item, link);
    topic->n_items--;
    topic->n_item_bytes -= item->msg->size_bytes;
    if (item->note)
        item->journal->ops->forget(item->journal, item->note, NULL);
    msg_let_go(item->msg);
    quota_release(quota_of(topic), item->uid, ITEM_CHARGE_BYTES);
    free(item);
}

/* Forgets what is more than the history may have besides @n messages of @n_bytes. */
static void trim_history(struct topic *topic, uint64_t n, uint64_t n_bytes)
{
    while (topic->n_items > 0 && (topic->n_items + n > topic->history ||
                                  topic->n_item_bytes + n_bytes > topic->mbox->limits.bytes))
        forget_oldest(topic);
}

/* Adds @msg, whose item is charged, and takes @note. Return: 0; -ENOMEM. */
static int add_item(struct topic *topic, struct msg *msg, struct journal_note *note)
{
    struct topic_history_item *item = malloc(sizeof(*item));

    if (!item) {
        quota_release(quota_of(topic), topic->uid, ITEM_CHARGE_BYTES);
        return -ENOMEM;
    }
    item->msg = msg_hold(msg, quota_of(topic), topic->uid);
    item->journal = topic->mbox->domain->journal;
    item->note = note;
    item->uid = topic->uid;
    TAILQ_INSERT_TAIL(&topic->items, item, link);
    topic->n_items++;
    topic->n_item_bytes += msg->size_bytes;
    return 0;
}

/* Where the owner may not have more, or memory is short, @msg is not in the history. Return: whether it is, and @note
 * taken. */
static bool topic_remember(struct topic *topic, struct msg *msg, struct journal_note *note)
{
    if (topic->history == 0)
        return false;
    trim_history(topic, 1, msg->size_bytes);
    if (quota_charge(quota_of(topic), topic->uid, ITEM_CHARGE_BYTES) < 0)
        return false;
    return add_item(topic, msg, note) == 0;
}

static int topic_remember_again(struct mbox_backend *backend, struct msg *msg,
                                struct journal_note *note)
{
    struct topic *topic = of_backend(backend);
    int r = quota_restore(quota_of(topic), topic->uid, ITEM_CHARGE_BYTES);

    if (r == 0)
        r = add_item(topic, msg, note);
    if (r == 0)
        trim_history(topic, 0, 0);
    return r;
}

static bool is_any(const _Atomic uint64_t *count)
{
    /* Relaxed: what counts under a subscription's lock may be seen a publication later. */
    return atomic_load_explicit(count, memory_order_relaxed) > 0;
}

/* Return: whether none of them makes a message of @size_bytes wait. */
static bool have_room(struct topic *topic, size_t size_bytes)
{
    struct subscription *subscription;

    if (!is_any(&topic->counts.n_blocking))
        return true;
    TAILQ_FOREACH(subscription, &topic->subscriptions, link) {
        if (!mbox_feed_has_room(subscription->mbox, size_bytes))
            return false;
    }
    return true;
}

static void put_into_all(struct topic *topic, struct msg *msg, struct mbox_ready *ready)
{
    uint64_t now_ns = topic->n_subscriptions > 0 ? expiry_now() : 0;
    struct subscription *subscription;

    TAILQ_FOREACH(subscription, &topic->subscriptions, link)
        topic->n_delivered += mbox_feed_put(subscription->mbox, msg, NULL, now_ns, ready);
    if (topic->n_subscriptions == 0)
        topic->n_unheard++;
}

static int topic_put(struct mbox_backend *backend, struct msg *msg, struct mbox_ready *ready)
{
    struct topic *topic = of_backend(backend);
    int r;

    if (!have_room(topic, msg->size_bytes))
        return -EAGAIN;
    /* Held until all have it: the first might be the last. */
    r = quota_charge_join(&msg->charge, quota_of(topic), msg->sender.uid, msg_charge_bytes(msg));
    if (r < 0)
        return r;
    msg->id = mbox_new_id(topic->mbox);
    put_into_all(topic, msg, ready);
    topic_remember(topic, msg, NULL);
    quota_charge_hand_on(&msg->charge);
    return 0;
}

/* So many places are made under one lock, which takes about a millisecond; or those of one message. */
#define PLACES_AT_ONCE 8192

/* Return: how many of @n messages are published together. */
static size_t together(const struct topic *topic, size_t n)
{
    size_t n_max = PLACES_AT_ONCE / (topic->n_subscriptions + 1);

    if (n_max == 0)
        return 1;
    return n < n_max ? n : n_max;
}

/* Charges them to their sender until all have them, and gives them what they have from the topic. Return: how many. */
static size_t begin_many(struct topic *topic, struct msg *const *msgs, size_t n)
{
    struct timespec now = mbox_now();
    size_t i;

    for (i = 0; i < n; i++) {
        struct msg *msg = msgs[i];

        if (quota_charge_join(&msg->charge, quota_of(topic), msg->sender.uid,
                              msg_charge_bytes(msg)) < 0)
            break;
        msg->id = mbox_new_id(topic->mbox);
        msg->arrived = now;
    }
    return i;
}

/* As topic_put of each in turn. Subscription after subscription has all of them, so that its lock is taken, and who waits there
 * told, once. */
static size_t topic_put_many(struct mbox_backend *backend, struct msg *const *msgs, size_t n,
                             struct mbox_ready *ready)
{
    struct topic *topic = of_backend(backend);
    struct subscription *subscription;
    uint64_t now_ns = expiry_now();

    /* One that blocks is asked for each. */
    if (is_any(&topic->counts.n_blocking))
        return 0;
    n = begin_many(topic, msgs, together(topic, n));
    TAILQ_FOREACH(subscription, &topic->subscriptions, link)
        topic->n_delivered += mbox_feed_put_many(subscription->mbox, msgs, n, now_ns, ready);
    if (topic->n_subscriptions == 0)
        topic->n_unheard += n;
    for (size_t i = 0; i < n; i++) {
        topic_remember(topic, msgs[i], NULL);
        quota_charge_hand_on(&msgs[i]->charge);
    }
    return n;
}

/* A publication may be for the journal, or comes behind one that is. */
static bool topic_stages(struct mbox_backend *backend)
{
    struct topic *topic = of_backend(backend);

    if (!topic->mbox->kept)
        return false;
    return !TAILQ_EMPTY(&topic->publications) ||
           (topic_is_durable(topic) && (topic->history > 0 || is_any(&topic->counts.n_kept)));
}

/* Asks each subscription there is. */
static void stage_copies(struct topic *topic, struct topic_publication *publication,
                         struct mbox_entry *entry, struct mbox_ready *ready)
{
    bool is_durable = topic_is_durable(topic);
    struct subscription *subscription;

    TAILQ_FOREACH(subscription, &topic->subscriptions, link) {
        struct topic_copy *copy = &publication->copies[publication->n_copies++];

        copy->mbox = mbox_ref(subscription->mbox);
        copy->stage = MBOX_FEED_UNKEPT;
        if (is_durable)
            copy->stage = mbox_feed_stage(copy->mbox, entry, &copy->entry, ready);
    }
}

static int topic_stage(struct mbox_backend *backend, struct mbox_entry *entry,
                       struct mbox_ready *ready)
{
    struct topic *topic = of_backend(backend);
    struct mbox_journal *journal = topic->mbox->domain->journal;
    struct topic_publication *publication;
    int r = 0;

    if (!have_room(topic, entry->msg->size_bytes))
        return -EAGAIN;
    /* Held until all have it: the first might be the last. */
    if (!entry->is_charged)
        r = mbox_entry_share_charge(entry, quota_of(topic));
    if (r < 0)
        return r;
    publication = calloc(1,
                         sizeof(*publication) + topic->n_subscriptions * sizeof(struct topic_copy));
    if (!publication)
        return -ENOMEM;
    publication->entry = entry;
    publication->n_begun = topic->n_begun;
    entry->msg->id = mbox_new_id(topic->mbox);
    entry->seq = ++topic->mbox->last_seq;
    stage_copies(topic, publication, entry, ready);
    TAILQ_INSERT_TAIL(&topic->publications, publication, link);
    journal->ops->publish(journal, topic->mbox, entry,
                          topic->history > 0 && topic_is_durable(topic), ready);
    return 0;
}

/* Return: whether the subscription has the message. */
static bool publish_copy(const struct topic_copy *copy, struct msg *msg, bool is_stored,
                         uint64_t now_ns, struct mbox_ready *ready)
{
    if (copy->stage == MBOX_FEED_STAGED)
        return mbox_feed_publish(copy->mbox, copy->entry, is_stored, now_ns, ready);
    if (!is_stored)
        return false;
    if (copy->stage == MBOX_FEED_UNKEPT)
        return mbox_feed_put(copy->mbox, msg, NULL, now_ns, ready);
    mbox_feed_refuse(copy->mbox, ready);
    return false;
}

static void publish_copies(struct topic *topic, struct topic_publication *publication,
                           struct msg *msg, bool is_stored, struct mbox_ready *ready)
{
    uint64_t now_ns = expiry_now();

    for (uint64_t i = 0; i < publication->n_copies; i++) {
        struct topic_copy *copy = &publication->copies[i];

        topic->n_delivered += publish_copy(copy, msg, is_stored, now_ns, ready);
        mbox_unref(copy->mbox);
    }
}

/* Return: @note, to note copies of what it is of by; NULL: none are noted. */
static struct journal_note *note_to_copy(const struct topic *topic, struct journal_note *note)
{
    return topic_is_durable(topic) ? note : NULL;
}

/* What has begun to subscribe since. */
static void publish_late(struct topic *topic, const struct topic_publication *publication,
                         struct mbox_entry *entry, struct mbox_ready *ready)
{
    struct journal_note *note = note_to_copy(topic, entry->note);
    struct subscription *subscription;
    uint64_t now_ns = expiry_now();

    TAILQ_FOREACH_REVERSE(subscription, &topic->subscriptions, subscriptions, link) {
        if (subscription->number <= publication->n_begun)
            return;
        topic->n_delivered += mbox_feed_put(subscription->mbox, entry->msg, note, now_ns, ready);
    }
}

/* Return: the publication of @entry, which is the first but where some wait for the disk. */
static struct topic_publication *find_publication(struct topic *topic,
                                                  const struct mbox_entry *entry)
{
    struct topic_publication *publication = TAILQ_FIRST(&topic->publications);

    while (publication->entry != entry)
        publication = TAILQ_NEXT(publication, link);
    return publication;
}

/* It is published. */
static void note_published(struct topic *topic, struct mbox_entry *entry)
{
    mbox_count_sent(topic->mbox, entry);
    if (topic->n_subscriptions == 0)
        topic->n_unheard++;
    if (topic_remember(topic, entry->msg, entry->note))
        entry->note = NULL;
}

static void topic_stored(struct mbox_backend *backend, struct mbox_entry *entry, int result,
                         struct mbox_ready *ready)
{
    struct topic *topic = of_backend(backend);
    struct topic_publication *publication = find_publication(topic, entry);
    bool is_removed = topic->mbox->removed;
    /* Nobody was told that it was sent if its sender does not wait any more. */
    bool is_stored = result == 0 && entry->poster && !is_removed;

    TAILQ_REMOVE(&topic->publications, publication, link);
    publish_copies(topic, publication, entry->msg, is_stored, ready);
    if (is_stored) {
        publish_late(topic, publication, entry, ready);
        note_published(topic, entry);
    }
    mbox_poster_finish(entry, is_removed ? -EIDRM : result, ready);
    mbox_entry_free(entry);
    free(publication);
}

static int topic_get(struct mbox_backend *backend, const struct mbox_op *op, struct msg **ret_msg)
{
    (void)backend;
    (void)op;
    (void)ret_msg;
    return -EAGAIN;
}

static unsigned int topic_readiness(struct mbox_backend *backend)
{
    return is_any(&of_backend(backend)->counts.n_full) ? 0 : MBOX_WRITABLE;
}

static bool topic_has_messages(struct mbox_backend *backend)
{
    return is_any(&of_backend(backend)->counts.n_kept);
}

/* Nothing is to be done: a subscription that is full wakes in any case. */
static void topic_want(struct mbox_backend *backend, unsigned int events)
{
    (void)backend;
    (void)events;
}

static void unlink_locked(struct topic *topic, struct subscription *subscription)
{
    TAILQ_REMOVE(&topic->subscriptions, subscription, link);
    topic->n_subscriptions--;
    subscription->is_linked = false;
}

static void topic_end(struct mbox_backend *backend, struct mbox_ready *ready)
{
    struct topic *topic = of_backend(backend);
    struct subscription *subscription;

    /* Each wakes, and with that gives up the references that it is. */
    TAILQ_FOREACH(subscription, &topic->subscriptions, link)
        mbox_remove(subscription->mbox, true, ready);
    while (topic->n_items > 0)
        forget_oldest(topic);
}

struct topic_config {
    struct mbox_limits limits; /* the first, for whom sets these alone */
    uint64_t history;
};

static int set_history(void *object, const char *value, size_t n)
{
    return count_parse(value, n, &((struct topic_config *)object)->history);
}

static void get_history(const void *object, char value[SETTING_VALUE_MAX])
{
    snprintf(value, SETTING_VALUE_MAX, "%" PRIu64, ((const struct topic_config *)object)->history);
}

/* In the order in which they are written. */
static const struct setting topic_settings[] = {
    { "history", set_history, get_history },
    MBOX_LIMITS_MESSAGE_BYTES,
    MBOX_LIMITS_BYTES,
    MBOX_LIMITS_DURABLE,
};

#define N_TOPIC_SETTINGS (sizeof(topic_settings) / sizeof(topic_settings[0]))

static size_t topic_format(struct mbox_backend *backend, char *text)
{
    const struct topic *topic = of_backend(backend);
    const struct topic_config config = { topic->mbox->limits, topic->history };

    return settings_format(topic_settings, N_TOPIC_SETTINGS, &config, text, TOPIC_CONFIG_TEXT_MAX);
}

static const struct mbox_backend_ops topic_ops = {
    .put = topic_put,
    .put_many = topic_put_many,
    .stages = topic_stages,
    .stage = topic_stage,
    .stored = topic_stored,
    .format = topic_format,
    .restore = topic_remember_again,
    .get = topic_get,
    .readiness = topic_readiness,
    .has_messages = topic_has_messages,
    .want = topic_want,
    .end = topic_end,
};

void topic_init(struct topic *topic, struct mbox *mbox, uid_t uid)
{
    topic->backend.ops = &topic_ops;
    topic->mbox = mbox;
    topic->uid = uid;
    TAILQ_INIT(&topic->subscriptions);
    TAILQ_INIT(&topic->items);
    TAILQ_INIT(&topic->publications);
    mbox->backend = &topic->backend;
}

void topic_deinit(struct topic *topic)
{
    assert(TAILQ_EMPTY(&topic->subscriptions) && topic->n_items == 0);
    assert(TAILQ_EMPTY(&topic->publications));
    (void)topic;
}

void topic_set_uid(struct topic *topic, uid_t uid)
{
    pthread_mutex_lock(&topic->mbox->lock);
    topic->uid = uid;
    pthread_mutex_unlock(&topic->mbox->lock);
}

/* What config says. */
static int configure_locked(struct topic *topic, const char *text, size_t n,
                            struct mbox_ready *ready)
{
    struct topic_config config = { topic->mbox->limits, topic->history };
    int r = settings_parse(topic_settings, N_TOPIC_SETTINGS, &config, text, n);

    if (r == 0 && config.limits.durable != MBOX_DURABLE_NO && !topic->mbox->kept)
        r = -EINVAL;
    if (r < 0)
        return r;
    topic->mbox->limits = config.limits;
    topic->history = config.history;
    trim_history(topic, 0, 0);
    if (topic->mbox->kept)
        topic->mbox->domain->journal->ops->configure(topic->mbox->domain->journal, topic->mbox,
                                                     ready);
    return 0;
}

int topic_configure(struct topic *topic, const char *text, size_t n, struct mbox_ready *ready)
{
    int r = -EIDRM;

    pthread_mutex_lock(&topic->mbox->lock);
    if (!topic->mbox->removed)
        r = configure_locked(topic, text, n, ready);
    pthread_mutex_unlock(&topic->mbox->lock);
    return r;
}

int topic_get_config(struct topic *topic, char ret_text[TOPIC_CONFIG_TEXT_MAX])
{
    int r = mbox_format_config(topic->mbox, ret_text);

    return r < 0 ? r : 0;
}

int topic_get_stat(struct topic *topic, struct topic_stat *ret_stat)
{
    bool removed;

    pthread_mutex_lock(&topic->mbox->lock);
    removed = topic->mbox->removed;
    if (!removed)
        *ret_stat = (struct topic_stat){
            .n_published = topic->mbox->stat.n_sent,
            .n_subscriptions = topic->n_subscriptions,
            .n_delivered = topic->n_delivered,
            .n_dropped = topic->n_unheard +
                         atomic_load_explicit(&topic->counts.n_dropped, memory_order_relaxed),
            .n_senders_waiting = topic->mbox->stat.n_senders_waiting,
            .last_publication = topic->mbox->stat.last_send,
        };
    pthread_mutex_unlock(&topic->mbox->lock);
    return removed ? -EIDRM : 0;
}

/* @op is a subscription's wake. */
static void woken(struct mbox_op *op, struct mbox_ready *ready)
{
    struct mbox_feed *feed = (struct mbox_feed *)((char *)op - offsetof(struct mbox_feed, wake));
    struct subscription *subscription =
        (struct subscription *)((char *)feed - offsetof(struct subscription, feed));
    struct topic *topic = subscription->topic;
    struct mbox *mbox = subscription->mbox;
    bool was_linked = false;

    if (mbox_feed_woken(mbox)) {
        pthread_mutex_lock(&topic->mbox->lock);
        was_linked = subscription->is_linked;
        if (was_linked)
            unlink_locked(topic, subscription);
        pthread_mutex_unlock(&topic->mbox->lock);
    }
    mbox_settle(topic->mbox, 0, ready);
    if (was_linked)
        mbox_unref(mbox);
    mbox_unref(mbox);
}

void subscription_init(struct subscription *subscription, struct topic *topic, struct mbox *mbox,
                       uid_t uid, bool is_kept)
{
    mbox_ref(topic->mbox);
    *subscription = (struct subscription){
        .mbox = mbox,
        .topic = topic,
        .feed = { .counts = &topic->counts,
                  .wake = { .complete = woken },
                  .uid = uid,
                  .is_kept = is_kept },
    };
    mbox->limits.overflow = MBOX_OVERFLOW_DROP_OLDEST;
    mbox->feed = &subscription->feed;
    if (is_kept)
        atomic_fetch_add_explicit(&topic->counts.n_kept, 1, memory_order_relaxed);
}

int subscription_begin(struct subscription *subscription, struct mbox_ready *ready)
{
    struct topic *topic = subscription->topic;
    uint64_t now_ns = expiry_now();
    struct topic_history_item *item;
    int r = 0;

    pthread_mutex_lock(&topic->mbox->lock);
    if (topic->mbox->removed) {
        r = -EIDRM;
    } else {
        mbox_ref(subscription->mbox);
        TAILQ_INSERT_TAIL(&topic->subscriptions, subscription, link);
        topic->n_subscriptions++;
        subscription->is_linked = true;
        subscription->number = ++topic->n_begun;
        TAILQ_FOREACH(item, &topic->items, link)
            topic->n_delivered += mbox_feed_put(subscription->mbox, item->msg,
                                                note_to_copy(topic, item->note), now_ns, ready);
    }
    pthread_mutex_unlock(&topic->mbox->lock);
    return r;
}

void subscription_deinit(struct subscription *subscription)
{
    assert(!subscription->is_linked);
    mbox_unref(subscription->topic->mbox);
}
