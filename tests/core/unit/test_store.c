/* The store behind mailboxes: what is there again after an orderly end and after none. */
#include "core/store/store.h"
#include "core/mailbox/lease.h"
#include "core/mailbox/names.h"
#include "core/store/store_check.h"
#include "core/store/store_internal.h"
#include "case.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char top[64];
static char path[128];
static char why[STORE_WHY_MAX];

static void set_up(void)
{
    strcpy(top, "/tmp/ipcfs-store.XXXXXX");
    cr_assert(mkdtemp(top));
    snprintf(path, sizeof(path), "%s/store", top);
}

static void tear_down(void)
{
    char command[256];

    snprintf(command, sizeof(command), "rm -rf %s", top);
    cr_assert_eq(system(command), 0);
}

#define STORE_TEST(name) CASE(store, name)

/* What one daemon has. */
static struct mbox_domain domain;
static struct names names;
static struct store *store;
static struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

static void release(struct mbox *mbox)
{
    mbox_deinit(mbox);
    free(mbox);
}

static size_t describe(struct mbox *mbox, char *text, size_t size)
{
    (void)mbox;
    return (size_t)snprintf(text, size, "looks=good\n");
}

static struct mbox *make(const char *name)
{
    struct mbox *mbox = malloc(sizeof(*mbox));

    mbox_init(mbox, &domain, release);
    cr_assert_eq(mbox_keep(mbox, JOURNAL_MAILBOX, NULL), 0);
    cr_assert_eq(names_add(&names, name, mbox), 0);
    mbox_unref(mbox);
    mbox_flush(&domain);
    return mbox;
}

static int make_found(const struct store_found *found, void *arg, struct mbox **ret_mbox)
{
    char name[NAME_BYTES_MAX + 1] = { 0 };

    (void)arg;
    memcpy(name, found->name.text, found->name.n_bytes);
    cr_assert_eq(found->n_attributes, strlen("looks=good\n"));
    *ret_mbox = mbox_ref(make(name));
    return mbox_configure(*ret_mbox, found->config, found->n_config, &ready);
}

static void start(void)
{
    mbox_domain_init(&domain, UINT64_C(1) << 40, UINT64_C(1) << 40);
    names_init(&names);
    cr_assert_eq(store_open(path, describe, &store, why), 0, "%s", why);
    cr_assert_eq(store_load(store, &domain, make_found, NULL), 0);
    cr_assert_eq(store_start(store), 0);
}

static void end(void)
{
    cr_assert_eq(store_end(store), 0);
    names_remove_all(&names, &ready);
    mbox_ready_run(&ready);
    store_free(store);
    names_deinit(&names);
    mbox_domain_deinit(&domain);
}

/* Runs @scene in a process of its own, which then ends as if killed. */
static void in_a_daemon(void (*scene)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        start();
        scene();
        _exit(0);
    }
    waitpid(pid, &status, 0);
    cr_assert_eq(status, 0);
}

struct sent {
    struct mbox_op op;
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool is_done;
};

static void complete(struct mbox_op *op, struct mbox_ready *others)
{
    struct sent *sent = (struct sent *)op;

    (void)others;
    pthread_mutex_lock(&sent->lock);
    sent->is_done = true;
    pthread_cond_signal(&sent->done);
    pthread_mutex_unlock(&sent->lock);
}

static struct sent *sent_new(void)
{
    struct sent *sent = calloc(1, sizeof(*sent));

    sent->op.complete = complete;
    pthread_mutex_init(&sent->lock, NULL);
    pthread_cond_init(&sent->done, NULL);
    return sent;
}

static int wait_for(struct sent *sent)
{
    int r;

    mbox_ready_run(&ready);
    pthread_mutex_lock(&sent->lock);
    while (!sent->is_done)
        pthread_cond_wait(&sent->done, &sent->lock);
    pthread_mutex_unlock(&sent->lock);
    r = sent->op.result;
    free(sent);
    return r;
}

static int post_prio(struct mbox *mbox, const char *text, unsigned int prio)
{
    struct msg *msg = msg_new(text, strlen(text), prio, (struct msg_sender){ 4, 5, 6 });
    struct sent *sent = sent_new();
    int r;

    cr_assert_eq(headers_add(&msg->headers, "colour", 6, text, strlen(text)), 0);
    r = mbox_post(mbox, msg, &sent->op, &ready);
    msg_unref(msg);
    if (r == MBOX_PARKED)
        return wait_for(sent);
    free(sent);
    return r;
}

static int post(struct mbox *mbox, const char *text)
{
    return post_prio(mbox, text, 0);
}

static struct mbox *find(const char *name)
{
    struct mbox *mbox = names_find(&names, name);

    cr_assert(mbox, "%s", name);
    mbox_unref(mbox);
    return mbox;
}

/* Takes the next, which must be @text; its receiver has it. */
static void take(struct mbox *mbox, const char *text)
{
    struct mbox_op op = { .nonblock = true, .max_bytes = SIZE_MAX };
    struct mbox_entry *entry;
    size_t at = 0;
    struct header header;

    cr_assert_eq(mbox_take(mbox, &op, &entry, &ready), 0, "%s", text);
    cr_assert_eq(entry->msg->size_bytes, strlen(text));
    cr_assert_arr_eq(entry->msg->data, text, strlen(text));
    cr_assert_eq(entry->msg->sender.uid, 5);
    cr_assert(headers_next(entry->msg->headers, &at, &header));
    cr_assert_arr_eq(header.value, text, strlen(text));
    mbox_commit(mbox, entry, &ready);
    mbox_entry_free(entry);
    mbox_ready_run(&ready);
}

static uint64_t count(struct mbox *mbox)
{
    struct mbox_stat stat;

    cr_assert_eq(mbox_get_stat(mbox, &stat), 0);
    return stat.n_messages;
}

static uint64_t first_id(struct mbox *mbox)
{
    return msgq_first(&mbox->queue)->msg->id;
}

static void send_three(void)
{
    struct mbox *mbox = make("orders");

    cr_assert_eq(post(mbox, "one"), 0);
    cr_assert_eq(post(mbox, "two"), 0);
    cr_assert_eq(post_prio(mbox, "urgent", 9), 0);
}

STORE_TEST(what_was_sent_is_there_after_a_kill)
{
    in_a_daemon(send_three);
    start();
    cr_assert_eq(count(find("orders")), 3);
    cr_assert_gt(quota_used(&domain.quota), 0);
    take(find("orders"), "urgent");
    take(find("orders"), "one");
    end();
    start();
    cr_assert_eq(count(find("orders")), 1);
    take(find("orders"), "two");
    end();
}

/* After a transaction that took long the next is left to the writer's thread: on a slow machine what nobody waits for may not
 * be noted when the daemon ends as if killed. */
static void wait_for_noted(void)
{
    store_drain(store);
}

static void send_and_take(void)
{
    send_three();
    take(find("orders"), "urgent");
    wait_for_noted();
}

STORE_TEST(what_was_received_does_not_come_again)
{
    in_a_daemon(send_and_take);
    start();
    cr_assert_eq(count(find("orders")), 2);
    end();
}

static void remove_first(void)
{
    struct sent *sent = sent_new();
    struct mbox *mbox = find("orders");

    cr_assert_eq(mbox_pick(mbox, first_id(mbox), &sent->op, &ready), MBOX_PARKED);
    cr_assert_eq(wait_for(sent), 0);
}

static void send_and_remove(void)
{
    send_three();
    remove_first();
}

STORE_TEST(what_was_removed_does_not_come_again)
{
    in_a_daemon(send_and_remove);
    start();
    cr_assert_eq(count(find("orders")), 2);
    take(find("orders"), "one");
    end();
}

static void hold_and_die(void)
{
    struct mbox_op op = { .nonblock = true, .max_bytes = SIZE_MAX };
    struct mbox_entry *entry;

    send_three();
    cr_assert_eq(mbox_take(find("orders"), &op, &entry, &ready), 0);
    mbox_ready_run(&ready);
}

STORE_TEST(what_was_on_its_way_comes_again)
{
    in_a_daemon(hold_and_die);
    start();
    cr_assert_eq(count(find("orders")), 3);
    take(find("orders"), "urgent");
    end();
}

static void move_two(void)
{
    struct mbox *other;

    send_three();
    other = make("other");
    cr_assert_eq(mbox_move(find("orders"), other, first_id(find("orders")), NULL, &ready), 0);
    cr_assert_eq(mbox_move(find("orders"), other, first_id(find("orders")), NULL, &ready), 0);
    mbox_ready_run(&ready);
    wait_for_noted();
}

STORE_TEST(what_was_moved_is_in_its_new_place_alone)
{
    in_a_daemon(move_two);
    start();
    cr_assert_eq(count(find("orders")), 1);
    cr_assert_eq(count(find("other")), 2);
    take(find("other"), "urgent");
    take(find("other"), "one");
    take(find("orders"), "two");
    end();
    start();
    cr_assert_eq(count(find("other")), 0);
    end();
}

static void move_and_take(void)
{
    struct mbox *other;

    send_three();
    other = make("other");
    cr_assert_eq(mbox_move(find("orders"), other, first_id(find("orders")), NULL, &ready), 0);
    take(other, "urgent");
    wait_for_noted();
}

STORE_TEST(what_was_moved_and_received_is_gone)
{
    in_a_daemon(move_and_take);
    start();
    cr_assert_eq(count(find("orders")), 2);
    cr_assert_eq(count(find("other")), 0);
    end();
}

#define LONG_NAME                                                                                  \
    "nl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\n" \
    "nl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\n" \
    "nl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\n" \
    "nl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\nnl\n"

static void change_all(void)
{
    const char *config = "messages=7\nbytes=99999\nmessage_bytes=777\noverflow=drop-oldest\n"
                         "durable=disk\n";

    cr_assert_eq(strlen(LONG_NAME), NAME_BYTES_MAX);
    make("orders");
    make("swapped");
    make("removed");
    cr_assert_eq(post(find("swapped"), "in swapped"), 0);
    cr_assert_eq(mbox_configure(find("orders"), config, strlen(config), &ready), 0);
    cr_assert_eq(names_rename(&names, "orders", LONG_NAME, NAMES_RENAME_NEW, &ready), 0);
    cr_assert_eq(names_rename(&names, LONG_NAME, "swapped", NAMES_RENAME_EXCHANGE, &ready), 0);
    cr_assert_eq(names_remove(&names, "removed", &ready), 0);
    mbox_ready_run(&ready);
    wait_for_noted();
}

STORE_TEST(names_and_configs_are_kept)
{
    struct mbox_limits limits;

    in_a_daemon(change_all);
    start();
    cr_assert_eq(names_count(&names), 2);
    cr_assert_eq(count(find(LONG_NAME)), 1);
    cr_assert_eq(mbox_get_limits(find("swapped"), &limits), 0);
    cr_assert_eq(limits.messages, 7);
    cr_assert_eq(limits.bytes, 99999);
    cr_assert_eq(limits.message_bytes, 777);
    cr_assert_eq(limits.overflow, MBOX_OVERFLOW_DROP_OLDEST);
    cr_assert_eq(limits.durable, MBOX_DURABLE_DISK);
    end();
}

static bool nobody(const struct mbox_op *op, void *arg)
{
    (void)op;
    (void)arg;
    return false;
}

static void claim(void)
{
    send_three();
    cr_assert_eq(mbox_claim(find("orders"), 77, nobody, NULL, &ready), 0);
    cr_assert_eq(post(find("orders"), "more"), 0);
    mbox_ready_run(&ready);
    wait_for_noted();
    cr_assert_eq(count(find("orders")), 4);
}

STORE_TEST(an_owned_mailbox_is_not_kept)
{
    in_a_daemon(claim);
    start();
    end();
}

static void send_unkept(void)
{
    send_three();
    cr_assert_eq(mbox_configure(find("orders"), "durable=no", 10, &ready), 0);
    cr_assert_eq(post(find("orders"), "light"), 0);
    mbox_ready_run(&ready);
    wait_for_noted();
}

STORE_TEST(durable_no_keeps_the_mailbox_alone)
{
    in_a_daemon(send_unkept);
    start();
    cr_assert_eq(count(find("orders")), 3);
    end();
}

static void send_to_disk(void)
{
    struct mbox *mbox = make("orders");

    cr_assert_eq(post(mbox, "for the daemon"), 0);
    cr_assert_eq(mbox_configure(mbox, "durable=disk", 12, &ready), 0);
    cr_assert_eq(post(mbox, "one"), 0);
    cr_assert_eq(post(mbox, "two"), 0);
    remove_first();
    cr_assert_eq(post(mbox, "three"), 0);
    remove_first();
}

/* The machine has ended: live.mdb is worth nothing. */
static void lose_the_machine(void)
{
    char file[256];
    FILE *state;

    snprintf(file, sizeof(file), "%s/state", path);
    state = fopen(file, "w");
    fputs("format=1\nboot=00000000-0000-0000-0000-000000000000\n", state);
    fclose(state);
    snprintf(file, sizeof(file), "%s/live.mdb", path);
    cr_assert_eq(truncate(file, 12345), 0);
}

STORE_TEST(what_is_on_the_disk_survives_the_machine)
{
    in_a_daemon(send_to_disk);
    lose_the_machine();
    start();
    cr_assert_eq(count(find("orders")), 2);
    take(find("orders"), "two");
    take(find("orders"), "three");
    end();
    start();
    cr_assert_eq(count(find("orders")), 0);
    end();
}

/* Of the first in orders, by who waits for the journal. */
static int move_first(struct sent *sent, struct mbox *to)
{
    struct mbox *orders = find("orders");

    return mbox_move(orders, to, first_id(orders), &sent->op, &ready);
}

/* The turn to write is taken by who configures, and not run yet. */
static void move_and_wait(const char *how)
{
    struct sent *sent = sent_new();
    struct mbox *other;

    send_three();
    other = make("other");
    cr_assert_eq(mbox_configure(other, how, strlen(how), &ready), 0);
    cr_assert_eq(move_first(sent, other), MBOX_PARKED, "it is not written yet");
    cr_assert_eq(wait_for(sent), 0);
}

static void move_and_wait_for_the_daemon(void)
{
    move_and_wait("durable=daemon\n");
}

static void move_and_wait_for_the_disk(void)
{
    move_and_wait("durable=disk\n");
}

STORE_TEST(who_moves_a_message_is_told_when_that_is_stored)
{
    in_a_daemon(move_and_wait_for_the_daemon);
    start();
    cr_assert_eq(count(find("orders")), 2);
    take(find("other"), "urgent");
    end();
}

STORE_TEST(who_moves_a_message_to_the_disk_is_told_when_it_is_there)
{
    in_a_daemon(move_and_wait_for_the_disk);
    lose_the_machine();
    start();
    take(find("other"), "urgent");
    end();
}

STORE_TEST(a_move_that_is_interrupted_has_been_done_and_waits_for_nothing)
{
    struct sent *before = sent_new();
    struct sent *meanwhile = sent_new();
    struct mbox *other;

    start();
    send_three();
    other = make("other");
    mbox_cancel(other, &before->op, &ready);
    cr_assert_eq(move_first(before, other), -EINTR);
    free(before);
    cr_assert_eq(move_first(meanwhile, other), MBOX_PARKED);
    mbox_cancel(other, &meanwhile->op, &ready);
    cr_assert_eq(wait_for(meanwhile), -EINTR);
    cr_assert_eq(count(find("orders")), 1);
    cr_assert_eq(count(other), 2);
    end();
}

STORE_TEST(a_move_between_mailboxes_that_are_not_kept_waits_for_nothing)
{
    struct sent *sent = sent_new();

    start();
    cr_assert_eq(mbox_configure(make("orders"), "durable=no", 10, &ready), 0);
    cr_assert_eq(mbox_configure(make("other"), "durable=no", 10, &ready), 0);
    cr_assert_eq(post(find("orders"), "light"), 0);
    mbox_ready_run(&ready);
    cr_assert_eq(move_first(sent, find("other")), 0);
    free(sent);
    end();
}

static uint64_t *last_id;

static void remember_id(void)
{
    send_three();
    remove_first();
    *last_id = atomic_load(&domain.last_id);
}

STORE_TEST(no_id_comes_twice)
{
    uint64_t before = 0;
    int pipes[2];

    (void)pipes;
    for (unsigned int round = 0; round < 3; round++) {
        char command[256];

        last_id = &before;
        start();
        cr_assert_geq(atomic_load(&domain.last_id), before);
        if (round == 0)
            remember_id();
        cr_assert_eq(post(find("orders"), "another"), 0);
        cr_assert_gt(atomic_load(&domain.last_id), before);
        before = atomic_load(&domain.last_id);
        end();
        snprintf(command, sizeof(command), "test -e %s/state", path);
        cr_assert_eq(system(command), 0);
    }
}

/* A batch of sends is one transaction, and told once. */
STORE_TEST(a_batch_is_told_when_all_of_it_is_stored)
{
    struct store_stat before;
    struct store_stat after;
    struct sent *sent = sent_new();
    struct mbox *mbox;

    start();
    mbox = make("orders");
    wait_for_noted();
    store_get_stat(store, &before);
    mbox_batch_begin(&sent->op);
    for (unsigned int i = 0; i < 500; i++) {
        struct msg *msg = msg_new("line", 4, 0, (struct msg_sender){ 0 });

        cr_assert_eq(mbox_post(mbox, msg, &sent->op, &ready), 0);
        msg_unref(msg);
    }
    cr_assert_eq(count(mbox), 0, "not before they are stored");
    cr_assert_eq(mbox_batch_end(mbox, &sent->op, &ready), MBOX_PARKED);
    mbox_ready_run(&ready);
    wait_for_noted();
    cr_assert_eq(sent->op.n_stored, 500);
    cr_assert_eq(wait_for(sent), 0);
    cr_assert_eq(count(mbox), 500);
    store_get_stat(store, &after);
    /* One, and what was copied to the disk meanwhile is taken out of the table by another. */
    cr_assert_leq(after.n_transactions, before.n_transactions + 2);
    cr_assert_eq(after.n_messages, 500);
    end();
}

/* There is one, and it is called failed. */
static struct mbox *find_dead(struct mbox *mbox, const char *name,
                              char ret_from[MBOX_NAME_BYTES_MAX + 1])
{
    (void)mbox;
    strcpy(ret_from, "orders");
    return names_find(&names, name);
}

static struct mbox_entry *lease(struct mbox *mbox)
{
    struct mbox_op op = { .nonblock = true, .max_bytes = SIZE_MAX, .leases = true };
    struct mbox_entry *entry;

    cr_assert_eq(mbox_take(mbox, &op, &entry, &ready), 0);
    mbox_commit(mbox, entry, &ready);
    mbox_ready_run(&ready);
    return entry;
}

/* What is done is written at once; of what is given up then the worker hears later. */
static void finish_one_and_give_up_another(const char *how)
{
    struct sent *sent = sent_new();
    struct mbox *orders = make("orders");
    struct mbox *failed = make("failed");
    struct mbox_entry *done;
    struct mbox_entry *dead;

    domain.find_dead = find_dead;
    cr_assert_eq(mbox_configure(orders, "dead=failed\n", 12, &ready), 0);
    cr_assert_eq(mbox_configure(failed, how, strlen(how), &ready), 0);
    cr_assert_eq(post(orders, "done"), 0);
    cr_assert_eq(post(orders, "dead"), 0);
    done = lease(orders);
    dead = lease(orders);
    mbox_batch_begin(&sent->op);
    cr_assert_eq(mbox_lease_end(orders, done, MBOX_LEASE_DONE, &sent->op, &ready), MBOX_PARKED);
    mbox_ready_run(&ready);
    cr_assert_eq(mbox_lease_end(orders, dead, MBOX_LEASE_DEAD, &sent->op, &ready), 0);
    cr_assert_eq(mbox_batch_end(orders, &sent->op, &ready), MBOX_PARKED, "it is not written yet");
    cr_assert_eq(wait_for(sent), 0);
}

static void finish_and_give_up(void)
{
    finish_one_and_give_up_another("durable=daemon\n");
}

static void finish_and_give_up_on_disk(void)
{
    finish_one_and_give_up_another("durable=disk\n");
}

STORE_TEST(a_batch_is_told_when_what_it_gave_up_is_stored)
{
    in_a_daemon(finish_and_give_up);
    start();
    cr_assert_eq(count(find("orders")), 0);
    cr_assert_eq(count(find("failed")), 1);
    end();
}

STORE_TEST(what_was_given_up_is_told_when_it_is_on_the_disk)
{
    in_a_daemon(finish_and_give_up_on_disk);
    start();
    cr_assert_eq(count(find("orders")), 0);
    cr_assert_eq(count(find("failed")), 1);
    end();
}

/* There is nothing to write then, and nothing to copy, but that it was so. */
STORE_TEST(what_was_given_up_and_written_by_another_is_waited_for_no_longer)
{
    struct sent *sent = sent_new();
    struct mbox *orders;
    struct mbox_entry *dead;

    start();
    domain.find_dead = find_dead;
    orders = make("orders");
    make("failed");
    cr_assert_eq(mbox_configure(orders, "dead=failed\ndurable=disk\n", 25, &ready), 0);
    cr_assert_eq(post(orders, "dead"), 0);
    dead = lease(orders);
    mbox_batch_begin(&sent->op);
    cr_assert_eq(mbox_lease_end(orders, dead, MBOX_LEASE_DEAD, &sent->op, &ready), 0);
    mbox_ready_run(&ready);
    cr_assert_eq(post(orders, "which brings all before it to the disk"), 0);
    cr_assert_eq(mbox_batch_end(orders, &sent->op, &ready), MBOX_PARKED);
    cr_assert_eq(wait_for(sent), 0);
    end();
}

/* Return: how often the process's other threads have gone to sleep. */
static unsigned long n_sleeps_of_others(void)
{
    DIR *dir = opendir("/proc/self/task");
    unsigned long n = 0;
    struct dirent *task;

    cr_assert(dir);
    while ((task = readdir(dir))) {
        char name[64];
        char line[256];
        FILE *status;

        if (task->d_name[0] == '.' || atoi(task->d_name) == gettid())
            continue;
        snprintf(name, sizeof(name), "/proc/self/task/%.20s/status", task->d_name);
        status = fopen(name, "r");
        while (status && fgets(line, sizeof(line), status)) {
            if (strncmp(line, "voluntary_ctxt_switches:", 24) == 0)
                n += strtoul(line + 24, NULL, 10);
        }
        if (status)
            fclose(status);
    }
    closedir(dir);
    return n;
}

/* Who sends and receives writes himself: another thread that woke up each time would cost more than all else. A disk that
 * was slow brings one in for a while. */
STORE_TEST(nobody_is_woken_for_a_caller_that_writes)
{
    /* Whoever was woken gets to run. */
    const struct timespec moment = { .tv_nsec = 100000 };
    unsigned long n_sleeps;
    struct mbox *mbox;

    start();
    mbox = make("orders");
    do {
        n_sleeps = n_sleeps_of_others();
        for (unsigned int i = 0; i < 500; i++) {
            cr_assert_eq(post(mbox, "one"), 0);
            take(mbox, "one");
            nanosleep(&moment, NULL);
        }
        n_sleeps = n_sleeps_of_others() - n_sleeps;
    } while (n_sleeps > 100);
    end();
}

STORE_TEST(an_interrupted_send_is_not_delivered)
{
    struct sent *sent = sent_new();
    struct mbox *mbox;
    struct msg *msg = msg_new("never", 5, 0, (struct msg_sender){ 0 });

    start();
    mbox = make("orders");
    cr_assert_eq(mbox_post(mbox, msg, &sent->op, &ready), MBOX_PARKED);
    msg_unref(msg);
    mbox_cancel(mbox, &sent->op, &ready);
    cr_assert_eq(wait_for(sent), -EINTR);
    cr_assert_eq(count(mbox), 0);
    end();
    start();
    cr_assert_eq(count(find("orders")), 0);
    end();
}

STORE_TEST(a_mailbox_that_is_removed_ends_its_sends)
{
    struct sent *sent = sent_new();
    struct msg *msg = msg_new("never", 5, 0, (struct msg_sender){ 0 });

    start();
    cr_assert_eq(mbox_post(make("orders"), msg, &sent->op, &ready), MBOX_PARKED);
    msg_unref(msg);
    cr_assert_eq(names_remove(&names, "orders", &ready), 0);
    cr_assert_eq(wait_for(sent), -EIDRM);
    end();
    start();
    end();
}
