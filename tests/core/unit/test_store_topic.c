/* Topics in the store: a daemon ends before and after each transaction, and the next one finds what it may. */
#include "core/mailbox/names.h"
#include "core/mailbox/topic.h"
#include "core/store/store.h"
#include "core/store/store_check.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <errno.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define HISTORY 2
#define N_PUBLISHED 12
#define N_COMMITS_MAX 500

struct box {
    struct mbox mbox;
    enum store_kind kind;
    struct topic topic;
    struct subscription subscription;
};

/* What a daemon had told its users. */
struct told {
    unsigned int n_published;
    unsigned int n_taken; /* from one */
    bool is_removed;      /* the first of other */
    bool is_moved;        /* the first of third, to graves */
    bool is_finished;
};

static char top[64];
static char path[128];
static char why[STORE_WHY_MAX];
static struct mbox_domain domain;
static struct names names;
static struct names subs;
static struct store *store;
static struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
static struct told *told;
static unsigned int n_commits;
static unsigned int ends_at; /* the commit; 0: none */
static bool ends_before;

/* In the place of LMDB's: what is committed is there whatever becomes of this process. */
__attribute__((visibility("default"))) int mdb_txn_commit(MDB_txn *txn)
{
    static int (*commit)(MDB_txn *);
    int r;

    if (!commit)
        *(void **)&commit = dlsym(RTLD_NEXT, "mdb_txn_commit");
    n_commits++;
    if (ends_at == n_commits && ends_before)
        _exit(0);
    r = commit(txn);
    if (ends_at == n_commits)
        _exit(0);
    return r;
}

static void box_release(struct mbox *mbox)
{
    struct box *box = (struct box *)mbox;

    if (box->kind == STORE_KIND_TOPIC)
        topic_deinit(&box->topic);
    if (box->kind == STORE_KIND_SUBSCRIPTION)
        subscription_deinit(&box->subscription);
    mbox_deinit(mbox);
    free(box);
}

static struct box *new_box(enum store_kind kind, struct box *topic, const char *name)
{
    struct box *box = calloc(1, sizeof(*box));

    box->kind = kind;
    mbox_init(&box->mbox, &domain, box_release);
    if (kind == STORE_KIND_TOPIC)
        topic_init(&box->topic, &box->mbox, 7);
    if (kind == STORE_KIND_SUBSCRIPTION)
        subscription_init(&box->subscription, &topic->topic, &box->mbox, 8, true);
    cr_assert_eq(mbox_keep(&box->mbox, (enum journal_kind)kind, topic ? &topic->mbox : NULL), 0);
    if (kind == STORE_KIND_SUBSCRIPTION)
        cr_assert_eq(subscription_begin(&box->subscription, &ready), 0);
    mbox_ready_run(&ready);
    cr_assert_eq(names_add(kind == STORE_KIND_SUBSCRIPTION ? &subs : &names, name, &box->mbox), 0);
    mbox_unref(&box->mbox);
    mbox_flush(&domain);
    return box;
}

static int make_found(const struct store_found *found, void *arg, struct mbox **ret_mbox)
{
    char name[NAME_BYTES_MAX + 1] = { 0 };
    struct box *box;

    (void)arg;
    memcpy(name, found->name.text, found->name.n_bytes);
    box = new_box(found->name.kind, (struct box *)found->parent, name);
    *ret_mbox = mbox_ref(&box->mbox);
    return box->kind == STORE_KIND_TOPIC
               ? topic_configure(&box->topic, found->config, found->n_config, &ready)
               : mbox_configure(&box->mbox, found->config, found->n_config, &ready);
}

/* No threads: whoever notes something writes it. */
static void start(void)
{
    mbox_domain_init(&domain, UINT64_C(1) << 40, UINT64_C(1) << 40);
    names_init(&names);
    names_init(&subs);
    cr_assert_eq(store_open(path, NULL, &store, why), 0, "%s", why);
    cr_assert_eq(store_load(store, &domain, make_found, NULL), 0);
    mbox_flush(&domain);
}

static void end(void)
{
    cr_assert_eq(store_end(store), 0);
    names_remove_all(&subs, &ready);
    mbox_ready_run(&ready);
    names_remove_all(&names, &ready);
    mbox_ready_run(&ready);
    store_free(store);
    names_deinit(&subs);
    names_deinit(&names);
    cr_assert_eq(quota_used(&domain.quota), 0, "a charge was not released");
    mbox_domain_deinit(&domain);
}

static struct mbox *find(struct names *in, const char *name)
{
    struct mbox *mbox = names_find(in, name);

    if (mbox)
        mbox_unref(mbox);
    return mbox;
}

static void complete(struct mbox_op *op, struct mbox_ready *others)
{
    (void)op;
    (void)others;
}

static void publish(struct box *topic, unsigned int number)
{
    struct msg *msg = msg_new(&number, sizeof(number), 0, (struct msg_sender){ 4, 5, 6 });
    struct mbox_op op = { .complete = complete };
    int r = mbox_post(&topic->mbox, msg, &op, &ready);

    msg_unref(msg);
    mbox_ready_run(&ready);
    cr_assert(r == 0 || (r == MBOX_PARKED && op.state == MBOX_OP_DONE && op.result == 0));
}

static unsigned int number_of(const struct mbox_entry *entry)
{
    unsigned int number;

    cr_assert_eq(entry->msg->size_bytes, sizeof(number));
    cr_assert_eq(entry->msg->sender.uid, 5);
    memcpy(&number, entry->msg->data, sizeof(number));
    return number;
}

static unsigned int take(struct mbox *mbox)
{
    struct mbox_op op = { .nonblock = true, .max_bytes = SIZE_MAX };
    struct mbox_entry *entry;
    unsigned int number;

    cr_assert_eq(mbox_take(mbox, &op, &entry, &ready), 0);
    number = number_of(entry);
    mbox_commit(mbox, entry, &ready);
    mbox_entry_free(entry);
    mbox_ready_run(&ready);
    return number;
}

static void remove_first(struct mbox *mbox)
{
    struct mbox_op op = { .complete = complete };

    cr_assert_eq(mbox_pick(mbox, msgq_first(&mbox->queue)->msg->id, &op, &ready), MBOX_PARKED);
    mbox_ready_run(&ready);
    cr_assert_eq(op.result, 0);
}

static void scene(void)
{
    struct box *graves = new_box(STORE_KIND_MAILBOX, NULL, "graves");
    struct box *topic = new_box(STORE_KIND_TOPIC, NULL, "news");
    struct box *one;
    struct box *other;
    struct box *third;

    cr_assert_eq(topic_configure(&topic->topic, "history=2", 9, &ready), 0);
    mbox_ready_run(&ready);
    one = new_box(STORE_KIND_SUBSCRIPTION, topic, "one");
    other = new_box(STORE_KIND_SUBSCRIPTION, topic, "other");
    third = new_box(STORE_KIND_SUBSCRIPTION, topic, "third");
    for (unsigned int i = 0; i < N_PUBLISHED; i++) {
        publish(topic, i);
        told->n_published = i + 1;
        if (i % 2 == 1) {
            cr_assert_eq(take(&one->mbox), told->n_taken);
            told->n_taken++;
        }
        if (i == 5) {
            remove_first(&other->mbox);
            told->is_removed = true;
        }
        if (i == 7) {
            cr_assert_eq(mbox_move(&third->mbox, &graves->mbox,
                                   msgq_first(&third->mbox.queue)->msg->id, NULL, &ready),
                         0);
            mbox_ready_run(&ready);
            told->is_moved = true;
        }
    }
    told->is_finished = true;
}

/* What waits in @mbox is first, first + 1, ... Return: behind the last. */
static unsigned int check_queue(struct mbox *mbox, unsigned int *ret_first)
{
    struct mbox_entry *entry = msgq_first(&mbox->queue);
    unsigned int next = entry ? number_of(entry) : 0;

    *ret_first = next;
    for (; entry; entry = msgq_next(&mbox->queue, entry))
        cr_assert_eq(number_of(entry), next++);
    return next;
}

/* Return: how many were published. */
static unsigned int check_subscriptions(void)
{
    struct mbox *one = find(&subs, "one");
    struct mbox *other = find(&subs, "other");
    struct mbox *third = find(&subs, "third");
    struct mbox *graves = find(&names, "graves");
    unsigned int first;
    unsigned int n;

    if (!one || !other || !third) {
        cr_assert_eq(told->n_published, 0, "what was made is there");
        return 0;
    }
    n = check_queue(other, &first);
    cr_assert(n == told->n_published || n == told->n_published + 1, "%u of %u", n,
              told->n_published);
    cr_assert(n == 0 || first == told->is_removed || (first == 1 && n >= 6));
    if (n > 0) {
        cr_assert_eq(check_queue(one, &first), n, "to all or to none");
        cr_assert(first == told->n_taken || first == told->n_taken + 1, "%u", first);
        cr_assert_eq(check_queue(third, &first), n);
        cr_assert_eq(graves->queue.n_messages, first, "it is in one place");
        cr_assert(first == told->is_moved || (first == 1 && n >= 8));
    }
    return n;
}

static void check_history(unsigned int n)
{
    struct box *topic = (struct box *)find(&names, "news");
    struct box *late;
    unsigned int first;

    if (!topic || n == 0)
        return;
    cr_assert_eq(topic->topic.history, HISTORY);
    late = new_box(STORE_KIND_SUBSCRIPTION, topic, "late");
    cr_assert_eq(check_queue(&late->mbox, &first), n);
    cr_assert_eq(late->mbox.queue.n_messages, n < HISTORY ? n : HISTORY);
    publish(topic, n);
    cr_assert_eq(check_queue(&late->mbox, &first), n + 1);
}

/* Once nobody has anything nothing is left in the store but what the history has. */
static void check_that_all_goes(void)
{
    static const char *const all[] = { "one", "other", "third", "late" };
    struct store_census live = { 0 };
    struct store_census disk;

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct mbox *mbox = find(&subs, all[i]);

        while (mbox && mbox->queue.n_messages > 0)
            take(mbox);
    }
    mbox_flush(&domain);
    end();
    cr_assert_eq(store_look(path, &live, &disk, why), 0, "%s", why);
    cr_assert_leq(live.n_message_bytes, (HISTORY + 1) * sizeof(unsigned int));
}

/* A daemon that ends at commit @n. Return: whether it came to the end of its scene. */
static bool run_daemon(unsigned int n, bool before)
{
    int status;
    pid_t pid;

    memset(told, 0, sizeof(*told));
    pid = fork();
    if (pid == 0) {
        n_commits = 0;
        ends_at = n;
        ends_before = before;
        start();
        scene();
        _exit(0);
    }
    waitpid(pid, &status, 0);
    cr_assert_eq(status, 0);
    return told->is_finished;
}

static void make_directory(void)
{
    strcpy(top, "/tmp/ipcfs-store.XXXXXX");
    cr_assert(mkdtemp(top));
    snprintf(path, sizeof(path), "%s/store", top);
}

static void remove_directory(void)
{
    char command[256];

    snprintf(command, sizeof(command), "rm -rf %s", top);
    cr_assert_eq(system(command), 0);
}

static void check_each_commit(bool before)
{
    bool is_finished = false;
    unsigned int n;

    told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (n = 1; !is_finished && n < N_COMMITS_MAX; n++) {
        make_directory();
        is_finished = run_daemon(n, before);
        start();
        check_history(check_subscriptions());
        check_that_all_goes();
        remove_directory();
    }
    cr_assert(is_finished);
    cr_assert_gt(n, 3 * N_PUBLISHED / 2, "each publication is a transaction, of %u", n);
}

Test(store_topic, a_daemon_ends_before_each_transaction)
{
    check_each_commit(true);
}

Test(store_topic, a_daemon_ends_after_each_transaction)
{
    check_each_commit(false);
}

/* --- while a publication is being stored, which is when somebody runs what is ready --- */

static struct box *begin(void)
{
    struct box *topic;

    make_directory();
    start();
    topic = new_box(STORE_KIND_TOPIC, NULL, "news");
    cr_assert_eq(topic_configure(&topic->topic, "history=2", 9, &ready), 0);
    mbox_ready_run(&ready);
    return topic;
}

static void start_again(void)
{
    end();
    start();
}

static void finish(void)
{
    end();
    remove_directory();
}

static struct box *subscribe(struct box *topic, const char *name, const char *config)
{
    struct box *box = new_box(STORE_KIND_SUBSCRIPTION, topic, name);

    cr_assert_eq(mbox_configure(&box->mbox, config, strlen(config), &ready), 0);
    mbox_ready_run(&ready);
    return box;
}

static void begin_publishing(struct box *topic, unsigned int number, struct mbox_op *op)
{
    struct msg *msg = msg_new(&number, sizeof(number), 0, (struct msg_sender){ 4, 5, 6 });

    *op = (struct mbox_op){ .complete = complete };
    cr_assert_eq(mbox_post(&topic->mbox, msg, op, &ready), MBOX_PARKED);
    msg_unref(msg);
}

static void expect_published(const struct mbox_op *op)
{
    cr_assert_eq(op->state, MBOX_OP_DONE);
    cr_assert_eq(op->result, 0);
}

/* In @mbox wait @n, the first of which is @number. */
static void expect_queue(struct mbox *mbox, unsigned int number, uint64_t n)
{
    unsigned int first;

    cr_assert_eq(mbox->queue.n_messages, n, "%lu", (unsigned long)mbox->queue.n_messages);
    cr_assert_eq(check_queue(mbox, &first), n == 0 ? 0 : number + n);
    cr_assert_eq(first, n == 0 ? 0 : number);
}

static struct mbox_stat stat_of(struct mbox *mbox)
{
    struct mbox_stat stat;

    cr_assert_eq(mbox_get_stat(mbox, &stat), 0);
    return stat;
}

Test(store_topic, what_is_cancelled_while_it_is_stored_nobody_has)
{
    struct box *topic = begin();
    struct box *one = subscribe(topic, "one", "messages=10");
    struct mbox_op op;

    begin_publishing(topic, 0, &op);
    mbox_cancel(&topic->mbox, &op, &ready);
    cr_assert_eq(op.state, MBOX_OP_DONE);
    cr_assert_eq(op.result, -EINTR);
    mbox_ready_run(&ready);
    expect_queue(&one->mbox, 0, 0);
    cr_assert_eq(stat_of(&topic->mbox).n_sent, 0);
    publish(topic, 1);
    expect_queue(&one->mbox, 1, 1);
    start_again();
    expect_queue(find(&subs, "one"), 1, 1);
    topic = (struct box *)find(&names, "news");
    expect_queue(&new_box(STORE_KIND_SUBSCRIPTION, topic, "late")->mbox, 1, 1);
    finish();
}

Test(store_topic, one_that_rejects_counts_what_is_being_stored)
{
    struct box *topic = begin();
    struct box *one = subscribe(topic, "one", "messages=1\noverflow=reject");
    struct box *other = subscribe(topic, "other", "messages=10");
    struct mbox_op ops[2];

    begin_publishing(topic, 0, &ops[0]);
    begin_publishing(topic, 1, &ops[1]);
    expect_queue(&one->mbox, 0, 0);
    mbox_ready_run(&ready);
    expect_published(&ops[0]);
    expect_published(&ops[1]);
    expect_queue(&one->mbox, 0, 1);
    cr_assert_eq(stat_of(&one->mbox).n_rejected, 1);
    cr_assert_eq(one->mbox.feed->n_missed, 1);
    expect_queue(&other->mbox, 0, 2);
    start_again();
    expect_queue(find(&subs, "one"), 0, 1);
    expect_queue(find(&subs, "other"), 0, 2);
    finish();
}

Test(store_topic, a_publisher_waits_for_the_room_that_is_taken_by_what_is_being_stored)
{
    struct box *topic = begin();
    struct box *one = subscribe(topic, "one", "messages=1\noverflow=block");
    struct box *other = subscribe(topic, "other", "messages=10");
    struct mbox_op ops[2];

    begin_publishing(topic, 0, &ops[0]);
    begin_publishing(topic, 1, &ops[1]);
    cr_assert_eq(ops[1].state, MBOX_OP_WAITING);
    mbox_ready_run(&ready);
    expect_published(&ops[0]);
    cr_assert_eq(ops[1].state, MBOX_OP_WAITING, "there is no room yet");
    expect_queue(&one->mbox, 0, 1);
    expect_queue(&other->mbox, 0, 1);
    cr_assert_eq(take(&one->mbox), 0);
    expect_published(&ops[1]);
    expect_queue(&one->mbox, 1, 1);
    expect_queue(&other->mbox, 0, 2);
    finish();
}

Test(store_topic, a_publisher_gets_the_room_of_what_was_cancelled_once_that_is_stored)
{
    struct box *topic = begin();
    struct box *one = subscribe(topic, "one", "messages=1\noverflow=block");
    struct mbox_op ops[2];

    begin_publishing(topic, 0, &ops[0]);
    begin_publishing(topic, 1, &ops[1]);
    mbox_cancel(&topic->mbox, &ops[0], &ready);
    cr_assert_eq(ops[0].result, -EINTR);
    cr_assert_eq(ops[1].state, MBOX_OP_WAITING, "it takes its room until then");
    mbox_ready_run(&ready);
    expect_published(&ops[1]);
    expect_queue(&one->mbox, 1, 1);
    start_again();
    expect_queue(find(&subs, "one"), 1, 1);
    finish();
}

Test(store_topic, a_topic_is_not_writable_while_what_is_being_stored_takes_the_room)
{
    struct box *topic = begin();
    struct mbox_op op;

    subscribe(topic, "one", "messages=1\noverflow=block");
    cr_assert(mbox_poll(&topic->mbox, NULL) & MBOX_WRITABLE);
    begin_publishing(topic, 0, &op);
    cr_assert_not(mbox_poll(&topic->mbox, NULL) & MBOX_WRITABLE);
    mbox_cancel(&topic->mbox, &op, &ready);
    cr_assert_not(mbox_poll(&topic->mbox, NULL) & MBOX_WRITABLE, "it still takes it");
    mbox_ready_run(&ready);
    cr_assert(mbox_poll(&topic->mbox, NULL) & MBOX_WRITABLE);
    finish();
}
