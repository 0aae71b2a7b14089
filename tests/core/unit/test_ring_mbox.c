/* A ring as a mailbox, against clients that map it. */
#include "core/ring/ring_mbox.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/lib/ring_os.h"

#define QUOTA_BYTES (UINT64_C(64) << 20)
#define WAIT_SECONDS 20

static struct mbox_domain domain;
static struct ring_waiters waiters;
static struct ring_box {
    struct mbox mbox;
    struct ring_mbox ring;
} * box;
static struct mbox *mbox;
static struct ring_mbox *ring;
static struct ring_memory *memory;
static struct ipcring *client;
static struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

static void release(struct mbox *last)
{
    ring_mbox_deinit(ring);
    mbox_deinit(last);
    free(box);
}

static uint64_t cost(void)
{
    return memory->n_bytes + RING_MEMORY_COST_BYTES;
}

static void map_client(void)
{
    ipcring_close(client);
    ring_memory_unref(memory);
    memory = ring_mbox_memory(ring);
    cr_assert_eq(ipcring_open_fd(memory->fd, &client), 0);
}

static const struct ring_home no_home = { .dir_fd = -1, .uid = 1, .gid = 1 };

static void begin(unsigned int words_per_thread, const struct ring_home *home)
{
    mbox_domain_init(&domain, QUOTA_BYTES, QUOTA_BYTES);
    ring_waiters_init(&waiters, words_per_thread);
    box = malloc(sizeof(*box));
    mbox = &box->mbox;
    ring = &box->ring;
    mbox_init(mbox, &domain, release);
    cr_assert_eq(ring_mbox_init(ring, mbox, &waiters, home), 0);
    map_client();
}

static void finish(void)
{
    mbox_remove(mbox, true, &ready);
    mbox_ready_run(&ready);
    mbox_unref(mbox);
    ring_waiters_deinit(&waiters);
    ipcring_close(client);
    ring_memory_unref(memory);
    client = NULL;
    memory = NULL;
    mbox_domain_deinit(&domain);
}

static void setup(void)
{
    begin(0, &no_home);
}

struct waiter {
    struct mbox_op op;
    sem_t done;
};

static void complete(struct mbox_op *op, struct mbox_ready *more)
{
    (void)more;
    sem_post(&((struct waiter *)op)->done);
}

static void waiter_init(struct waiter *waiter)
{
    *waiter = (struct waiter){ .op = { .complete = complete, .max_bytes = SIZE_MAX } };
    sem_init(&waiter->done, 0, 0);
}

static int waiter_result(struct waiter *waiter)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_SECONDS;
    cr_assert_eq(sem_timedwait(&waiter->done, &until), 0, "it waits for ever");
    return waiter->op.result;
}

static bool is_done(struct waiter *waiter)
{
    int value;

    sem_getvalue(&waiter->done, &value);
    return value > 0;
}

static void configure(const char *text, int expected)
{
    cr_assert_eq(ring_mbox_configure(ring, text, strlen(text), &ready), expected);
    mbox_ready_run(&ready);
}

static int post(const char *text, struct waiter *waiter)
{
    struct msg *msg = msg_new(text, strlen(text), 0, (struct msg_sender){ .pid = 1, .uid = 2 });
    int r = mbox_post(mbox, msg, waiter ? &waiter->op : NULL, &ready);

    msg_unref(msg);
    mbox_ready_run(&ready);
    return r;
}

static int start_take(struct mbox *from, struct waiter *waiter)
{
    struct mbox_entry *entry;
    int r = mbox_take(from, &waiter->op, &entry, &ready);

    if (r == 0)
        waiter->op.entry = entry;
    mbox_ready_run(&ready);
    return r;
}

static void expect_msg(struct mbox_entry *entry, const char *text)
{
    cr_assert_eq(entry->msg->size_bytes, strlen(text));
    cr_assert_eq(memcmp(entry->msg->data, text, entry->msg->size_bytes), 0);
    mbox_commit(mbox, entry, &ready);
    mbox_entry_free(entry);
}

static void take_now(const char *text)
{
    struct waiter waiter;

    waiter_init(&waiter);
    waiter.op.nonblock = true;
    cr_assert_eq(start_take(mbox, &waiter), 0);
    expect_msg(waiter.op.entry, text);
}

static void produce(const char *text)
{
    cr_assert_eq(ipcring_try_produce(client, text, strlen(text)), 0);
}

static void consume(const char *text)
{
    char data[1024];
    int n = ipcring_consume(client, data, sizeof(data), INT64_C(1000000000) * WAIT_SECONDS);

    cr_assert_eq(n, (int)strlen(text), "got %d", n);
    cr_assert_eq(memcmp(data, text, strlen(text)), 0);
}

TestSuite(ring_mbox, .init = setup, .fini = finish);

Test(ring_mbox, both_sides_exchange_in_one_order)
{
    produce("a");
    cr_assert_eq(post("b", NULL), 0);
    produce("c");
    take_now("a");
    consume("b");
    take_now("c");
    cr_assert_eq(quota_used(&domain.quota), cost());
}

static void receiver_is_woken(void)
{
    struct waiter waiter;

    waiter_init(&waiter);
    for (int i = 0; i < 200; i++) {
        waiter.op.state = MBOX_OP_IDLE;
        cr_assert_eq(start_take(mbox, &waiter), MBOX_PARKED);
        if (i % 3 == 0)
            usleep(300);
        produce("x");
        cr_assert_eq(waiter_result(&waiter), 0);
        expect_msg(waiter.op.entry, "x");
    }
}

static void sender_is_woken(void)
{
    struct waiter waiter;

    configure("slots=2", 0);
    map_client();
    waiter_init(&waiter);
    for (int i = 0; i < 200; i++) {
        cr_assert_eq(post("1", NULL), 0);
        cr_assert_eq(post("2", NULL), 0);
        cr_assert_eq(post("3", NULL), -EAGAIN);
        waiter.op.state = MBOX_OP_IDLE;
        cr_assert_eq(post("3", &waiter), MBOX_PARKED);
        cr_assert_gt(quota_used(&domain.quota), cost());
        if (i % 3 == 0)
            usleep(300);
        consume("1");
        cr_assert_eq(waiter_result(&waiter), 0);
        consume("2");
        consume("3");
        cr_assert_eq(quota_used(&domain.quota), cost());
    }
}

Test(ring_mbox, receiver_is_woken_by_a_client)
{
    receiver_is_woken();
}

Test(ring_mbox, sender_is_woken_by_a_client)
{
    sender_is_woken();
}

/* As where there is no futex_waitv. */
Test(ring_mbox_single, receiver_is_woken_by_a_client)
{
    begin(1, &no_home);
    receiver_is_woken();
    finish();
}

Test(ring_mbox_single, sender_is_woken_by_a_client)
{
    begin(1, &no_home);
    sender_is_woken();
    finish();
}

Test(ring_mbox, receivers_are_served_in_their_order)
{
    struct waiter waiters_in_order[3];

    for (int i = 0; i < 3; i++) {
        waiter_init(&waiters_in_order[i]);
        cr_assert_eq(start_take(mbox, &waiters_in_order[i]), MBOX_PARKED);
    }
    for (int i = 0; i < 3; i++) {
        char text[2] = { (char)('a' + i), 0 };

        produce(text);
        cr_assert_eq(waiter_result(&waiters_in_order[i]), 0);
        expect_msg(waiters_in_order[i].op.entry, text);
        for (int k = i + 1; k < 3; k++)
            cr_assert_not(is_done(&waiters_in_order[k]));
    }
}

Test(ring_mbox, who_gives_up_takes_nothing)
{
    struct waiter waiter;

    waiter_init(&waiter);
    cr_assert_eq(start_take(mbox, &waiter), MBOX_PARKED);
    mbox_cancel(mbox, &waiter.op, &ready);
    mbox_ready_run(&ready);
    cr_assert_eq(waiter_result(&waiter), -EINTR);
    produce("a");
    take_now("a");
}

Test(ring_mbox, undelivered_message_comes_back_first)
{
    struct waiter waiter;

    produce("a");
    produce("b");
    waiter_init(&waiter);
    cr_assert_eq(start_take(mbox, &waiter), 0);
    mbox_abort(mbox, waiter.op.entry, &ready);
    cr_assert_eq(mbox_remove(mbox, false, &ready), -ENOTEMPTY);
    take_now("a");
    take_now("b");
}

Test(ring_mbox, message_too_long_stays)
{
    struct waiter waiter;

    waiter_init(&waiter);
    waiter.op.max_bytes = 2;
    produce("abc");
    cr_assert_eq(start_take(mbox, &waiter), -EMSGSIZE);
    take_now("abc");
    configure("slot_bytes=16", 0);
    cr_assert_eq(post("123456789", NULL), -EMSGSIZE);
    cr_assert_eq(post("12345678", NULL), 0);
}

Test(ring_mbox, removal_ends_all_waiting)
{
    struct ipcring *mapped = client;
    struct waiter taker;
    struct waiter listener;
    char data[8];

    waiter_init(&taker);
    waiter_init(&listener);
    listener.op.seen = ring_mbox_last_change(ring);
    cr_assert_eq(start_take(mbox, &taker), MBOX_PARKED);
    cr_assert_eq(start_take(&ring->bell, &listener), MBOX_PARKED);
    cr_assert_eq(mbox_remove(mbox, false, &ready), 0);
    mbox_ready_run(&ready);
    cr_assert_eq(waiter_result(&taker), -EIDRM);
    cr_assert_eq(waiter_result(&listener), -EIDRM);
    cr_assert_eq(ipcring_try_consume(mapped, data, sizeof(data)), -EIDRM);
    cr_assert_eq(quota_used(&domain.quota), 0);
    cr_assert_null(ring_mbox_memory(ring));
}

Test(ring_mbox, bad_settings_change_nothing)
{
    static const char *const bad[] = { "slots=3",         "slots=1",       "slots=33554432",
                                       "slots=",          "slots",         "slot_bytes=8",
                                       "slot_bytes=17",   "slot_bytes=2M", "messages=1",
                                       "producers=two",   "consumers=",    "slots=4\nx=1\n",
                                       "slots=4294967298" };
    char text[RING_CONFIG_MAX];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        configure(bad[i], -EINVAL);
    cr_assert_eq(ring_mbox_get_config(ring, text), 0);
    cr_assert_str_eq(text, "slots=1024\nslot_bytes=1024\nproducers=many\nconsumers=many\n");
}

Test(ring_mbox, new_settings_end_the_old_memory)
{
    struct ring_memory *old = ring_memory_ref(memory);
    char data[8];

    produce("a");
    configure("slots=64", -EBUSY);
    configure("slots=1024\nproducers=many\n", 0);
    consume("a");
    configure("slots=64\nslot_bytes=4K\nproducers=one\nconsumers=one\n", 0);
    cr_assert_eq(ipcring_try_consume(client, data, sizeof(data)), -EIDRM);
    map_client();
    cr_assert_neq(old, memory);
    ring_memory_unref(old);
    cr_assert_eq(memory->geometry.slots, 64);
    cr_assert_eq(memory->geometry.slot_bytes, 4096);
    cr_assert_eq(memory->geometry.flags, IPCRING_ONE_PRODUCER | IPCRING_ONE_CONSUMER);
    cr_assert_eq(quota_used(&domain.quota), cost());
    /* The daemon's roles are for a moment only. */
    cr_assert_eq(post("x", NULL), 0);
    take_now("x");
    produce("b");
    consume("b");
    cr_assert_eq(post("y", NULL), -EBUSY);
    configure("slots=16777216\nslot_bytes=1M\n", -EDQUOT);
    cr_assert_eq(quota_used(&domain.quota), cost());
}

Test(ring_mbox, those_who_wait_go_on_in_the_new_memory)
{
    struct waiter waiter;

    waiter_init(&waiter);
    cr_assert_eq(start_take(mbox, &waiter), MBOX_PARKED);
    configure("slots=2", 0);
    map_client();
    usleep(1000);
    produce("new");
    cr_assert_eq(waiter_result(&waiter), 0);
    expect_msg(waiter.op.entry, "new");
}

Test(ring_mbox, owner_is_charged)
{
    cr_assert_eq(ring_mbox_set_owner(ring, 7, 7), 0);
    cr_assert_eq(quota_charge(&domain.quota, 7, QUOTA_BYTES - cost()), 0);
    cr_assert_eq(quota_charge(&domain.quota, 7, 1), -EDQUOT);
    quota_release(&domain.quota, 7, QUOTA_BYTES - cost());
}

Test(ring_mbox, bell_tells_each_change_once)
{
    struct waiter waiter;

    waiter_init(&waiter);
    waiter.op.seen = ring_mbox_last_change(ring);
    for (int i = 0; i < 100; i++) {
        waiter.op.state = MBOX_OP_IDLE;
        cr_assert_eq(start_take(&ring->bell, &waiter), MBOX_PARKED);
        if (i % 2)
            usleep(200);
        if (i % 3 == 0)
            produce("a");
        else if (i % 3 == 1)
            consume("a");
        else
            cr_assert_eq(ring_mbox_wake(ring, &ready), 0);
        mbox_ready_run(&ready);
        cr_assert_eq(waiter_result(&waiter), 0);
        waiter.op.seen = waiter.op.entry->msg->id;
        mbox_entry_free(waiter.op.entry);
        cr_assert_eq(waiter.op.seen, ring_mbox_last_change(ring));
    }
}

/* One has seen the last change and waits for another; who has not seen it is told at once. */
Test(ring_mbox, bell_tells_each_listener)
{
    struct waiter first;
    struct waiter second;

    waiter_init(&first);
    waiter_init(&second);
    second.op.seen = ring_mbox_last_change(ring);
    produce("a");
    first.op.seen = ring_mbox_last_change(ring);
    cr_assert_eq(start_take(&ring->bell, &first), MBOX_PARKED);
    cr_assert_eq(start_take(&ring->bell, &second), 0);
    cr_assert_eq(second.op.entry->msg->id, first.op.seen);
    mbox_entry_free(second.op.entry);

    /* And also where it waited behind that one before the change. */
    second.op.state = MBOX_OP_IDLE;
    second.op.seen = ring_mbox_last_change(ring);
    cr_assert_eq(start_take(&ring->bell, &second), MBOX_PARKED);
    produce("b");
    cr_assert_eq(waiter_result(&second), 0);
    cr_assert_eq(waiter_result(&first), 0);
    mbox_entry_free(first.op.entry);
    mbox_entry_free(second.op.entry);
}

static void on_fire(struct mbox_watch *watch)
{
    sem_post(&((struct waiter *)((char *)watch - sizeof(struct waiter)))->done);
}

struct poller {
    struct waiter waiter;
    struct mbox_watch watch;
};

static void poller_arm(struct poller *poller, struct mbox *polled, unsigned int events)
{
    waiter_init(&poller->waiter);
    poller->watch = (struct mbox_watch){ .events = events, .fire = on_fire };
    mbox_poll(polled, &poller->watch);
}

Test(ring_mbox, pollers_are_told)
{
    struct poller poller;

    poller_arm(&poller, mbox, MBOX_READABLE);
    usleep(1000);
    produce("a");
    waiter_result(&poller.waiter);
    cr_assert(mbox_poll(mbox, NULL) & MBOX_READABLE);
    poller_arm(&poller, &ring->bell, MBOX_READABLE);
    usleep(1000);
    /* Somebody else counts the change first. */
    consume("a");
    ring_mbox_last_change(ring);
    waiter_result(&poller.waiter);
    configure("slots=2", 0);
    map_client();
    produce("a");
    produce("b");
    cr_assert_not(mbox_poll(mbox, NULL) & MBOX_WRITABLE);
    poller_arm(&poller, mbox, MBOX_WRITABLE);
    usleep(1000);
    consume("a");
    waiter_result(&poller.waiter);
    cr_assert(mbox_poll(mbox, NULL) & MBOX_WRITABLE);
}

/* A process that has claimed a slot, and then dies by @signal. */
static void claim_and_die(int signal)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        struct ipcring *dying;
        void *data;

        if (ipcring_open_fd(memory->fd, &dying) == 0 && ipcring_reserve(dying, &data, 0) == 0)
            raise(signal);
        _exit(1);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status));
}

Test(ring_mbox, nobody_waits_for_the_dead)
{
    struct waiter waiter;

    claim_and_die(SIGKILL);
    produce("a");
    take_now("a");
    waiter_init(&waiter);
    cr_assert_eq(start_take(mbox, &waiter), MBOX_PARKED);
    claim_and_die(SIGKILL);
    produce("b");
    cr_assert_eq(waiter_result(&waiter), 0);
    expect_msg(waiter.op.entry, "b");
    configure("producers=one\nconsumers=one\n", 0);
    map_client();
    claim_and_die(SIGKILL);
    cr_assert_eq(post("c", NULL), 0);
    take_now("c");
}

/* What a process of this pid that is dead would have written. */
static uint32_t predecessor_id(void)
{
    return ipcring_os_own_id() ^ (2U << IPCRING_ID_START_SHIFT);
}

/* Return: what became of a try, once the dead were judged by those who take their time. */
static int take_soon(struct waiter *waiter)
{
    int r = -EAGAIN;

    for (int i = 0; i < WAIT_SECONDS * 1000 && (r == -EAGAIN || r == -EBUSY); i++) {
        waiter_init(waiter);
        waiter->op.nonblock = true;
        r = start_take(mbox, waiter);
        usleep(1000);
    }
    return r;
}

Test(ring_mbox, dead_are_told_from_who_has_their_pid_now)
{
    struct waiter waiter;

    atomic_store(ring_u64(memory->map, IPCRING_AT_SLOT_0),
                 ipcring_word(1, IPCRING_CLAIMED, predecessor_id()));
    produce("a");
    cr_assert_eq(take_soon(&waiter), 0);
    expect_msg(waiter.op.entry, "a");
    configure("consumers=one\n", 0);
    map_client();
    produce("b");
    atomic_store(ring_u32(memory->map, IPCRING_AT_CONSUMER), predecessor_id());
    cr_assert_eq(take_soon(&waiter), 0);
    expect_msg(waiter.op.entry, "b");
}

/* Fills the ring, whose slots have 16 bytes, with the claims of one who is dead, all but the last. */
static void bury_ring_in_claims(uint64_t n_slots)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    for (uint64_t i = 0; i < n_slots - 1; i++)
        atomic_store(ring_u64(memory->map, IPCRING_AT_SLOT_0 + i * 16),
                     ipcring_word(1, IPCRING_CLAIMED, (uint32_t)pid));
}

Test(ring_mbox, dead_without_number_are_passed_a_few_at_a_time)
{
    const uint64_t n_slots = 4096;
    struct waiter waiter;

    configure("slots=4096\nslot_bytes=16\n", 0);
    map_client();
    bury_ring_in_claims(n_slots);
    cr_assert_eq(post("a", NULL), 0);
    waiter_init(&waiter);
    waiter.op.nonblock = true;
    cr_assert_eq(start_take(mbox, &waiter), -EAGAIN);
    cr_assert_lt(ring_tail(memory->map), n_slots / 2);
    waiter_init(&waiter);
    if (start_take(mbox, &waiter) == MBOX_PARKED)
        cr_assert_eq(waiter_result(&waiter), 0);
    expect_msg(waiter.op.entry, "a");
}

/* Fills the ring, whose slots have 16 bytes, with slots to be skipped, all but the last, which has an empty message. */
static void fill_with_skipped(uint64_t n_slots)
{
    for (uint64_t i = 0; i < n_slots; i++)
        atomic_store(ring_u64(memory->map, IPCRING_AT_SLOT_0 + i * 16),
                     ipcring_word(1, i == n_slots - 1 ? IPCRING_FULL : IPCRING_SKIP, 0));
    atomic_store(ring_u64(memory->map, IPCRING_AT_HEAD), n_slots);
}

Test(ring_mbox, skipped_without_number_are_passed_a_few_at_a_time)
{
    const uint64_t n_slots = 16 * RING_STEPS;
    struct ring_skim skim = { 0 };
    struct poller poller;
    struct waiter waiter;
    bool more;

    for (unsigned int flags = 0; flags < 2; flags++) {
        configure(flags ? "slots=65536\nslot_bytes=16\nconsumers=one\n"
                        : "slots=65536\nslot_bytes=16\n",
                  0);
        map_client();
        fill_with_skipped(n_slots);
        skim = (struct ring_skim){ 0 };
        for (int i = 0; i < 15; i++)
            cr_assert_eq(ring_look(memory->map, &memory->geometry, &skim), RING_SKIPPED);
        cr_assert_eq(ring_look(memory->map, &memory->geometry, &skim), RING_MESSAGE);
        cr_assert_eq(ring_find_published(memory->map, &memory->geometry, 0, &more), RING_STEPS);
        cr_assert(more);
        /* A poller is told all the same, and a receiver gets there. */
        cr_assert_not(mbox_poll(mbox, NULL) & MBOX_READABLE);
        poller_arm(&poller, mbox, MBOX_READABLE);
        waiter_result(&poller.waiter);
        waiter_init(&waiter);
        if (start_take(mbox, &waiter) == MBOX_PARKED)
            cr_assert_eq(waiter_result(&waiter), 0);
        cr_assert_eq(waiter.op.entry->msg->size_bytes, 0);
        mbox_entry_free(waiter.op.entry);
        cr_assert_eq(ring_tail(memory->map), n_slots);
    }
}

Test(ring_mbox, stat_of_many_messages_tells_them_all)
{
    struct ring_mbox_stat stat;

    configure("slots=65536\nslot_bytes=16\n", 0);
    map_client();
    for (unsigned int i = 0; i < 3 * RING_STEPS; i++)
        cr_assert_eq(ipcring_try_produce(client, "a", 1), 0);
    cr_assert_eq(ring_mbox_get_stat(ring, &stat), 0);
    cr_assert_eq(stat.n_messages, 3 * RING_STEPS);
    cr_assert_eq(stat.head, 3 * RING_STEPS);
}

Test(ring_mbox, full_ring_whose_producer_died_before_it_stored_head_has_no_room)
{
    configure("slots=2\nproducers=one\n", 0);
    map_client();
    produce("a");
    produce("b");
    ipcring_close(client);
    client = NULL;
    atomic_store(ring_u64(memory->map, IPCRING_AT_HEAD), 1);
    cr_assert_not(mbox_poll(mbox, NULL) & MBOX_WRITABLE);
    take_now("a");
    cr_assert(mbox_poll(mbox, NULL) & MBOX_WRITABLE);
    cr_assert_eq(post("c", NULL), 0);
    cr_assert_not(mbox_poll(mbox, NULL) & MBOX_WRITABLE);
    take_now("b");
    take_now("c");
}

Test(ring_mbox, whom_somebody_has_marked_as_ended_is_an_error_and_can_be_renewed_or_removed)
{
    struct waiter waiter;

    waiter_init(&waiter);
    cr_assert_eq(start_take(mbox, &waiter), MBOX_PARKED);
    for (unsigned int i = 0; i < 2; i++) {
        ring_end(memory->map);
        if (i == 0)
            cr_assert_eq(waiter_result(&waiter), -EIO);
        cr_assert_eq(post("x", NULL), -EIO);
        cr_assert_eq(mbox_poll(mbox, NULL), MBOX_READABLE | MBOX_WRITABLE);
        if (i == 0) {
            /* A message is in it that nobody can have. */
            atomic_store(ring_u64(memory->map, IPCRING_AT_SLOT_0),
                         ipcring_word(1, IPCRING_FULL, 1));
            atomic_store(ring_u64(memory->map, IPCRING_AT_HEAD), 1);
            configure("slots=8\n", 0);
            map_client();
            produce("y");
            take_now("y");
            produce("z");
        }
    }
    cr_assert_eq(mbox_remove(mbox, false, &ready), 0);
}

Test(ring_mbox, scribbled_map_is_an_error_and_can_be_removed)
{
    struct waiter waiter;

    waiter_init(&waiter);
    waiter.op.nonblock = true;
    produce("a");
    /* Its thread may look at some of these words just now. */
    for (size_t at = 0; at < 4096; at += 4)
        atomic_store(ring_u32(memory->map, IPCRING_AT_HEAD + at), 0x5a5a5a5aU);
    memset((char *)memory->map + IPCRING_AT_SLOT_0, 0xa5, 4096);
    for (int i = 0; i < 10; i++) {
        cr_assert_lt(post("x", NULL), 0);
        cr_assert_lt(start_take(mbox, &waiter), 0);
    }
    cr_assert_eq(mbox_remove(mbox, false, &ready), 0);
}

static int open_home(char path[32])
{
    strcpy(path, "/dev/shm/ipcfs-test-XXXXXX");
    cr_assert_not_null(mkdtemp(path));
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static unsigned int count_files(const char *path)
{
    struct dirent *entry;
    unsigned int n = 0;
    DIR *dir = opendir(path);

    while ((entry = readdir(dir)))
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

Test(ring_mbox_named, memory_has_a_name_while_there_is_a_ring)
{
    char path[32];
    struct ring_home home = { .dir_fd = open_home(path), .uid = getuid(), .gid = getgid() };
    struct stat st;

    begin(0, &home);
    cr_assert_eq(count_files(path), 1);
    cr_assert_eq(fchmod(memory->fd, 0640), 0);
    configure("slots=2", 0);
    cr_assert_eq(count_files(path), 1);
    map_client();
    cr_assert_eq(fstat(memory->fd, &st), 0);
    cr_assert_eq(st.st_mode & 07777, 0640);
    produce("a");
    take_now("a");
    mbox_remove(mbox, true, &ready);
    cr_assert_eq(count_files(path), 0);
    finish();
    close(home.dir_fd);
    cr_assert_eq(rmdir(path), 0);
}

Test(ring_mbox_named, truncating_it_spoils_only_that_ring)
{
    char path[32];
    struct ring_home home = { .dir_fd = open_home(path), .uid = getuid(), .gid = getgid() };
    struct waiter waiter;

    begin(0, &home);
    produce("a");
    waiter_init(&waiter);
    ipcring_close(client);
    client = NULL;
    cr_assert_eq(ftruncate(memory->fd, 0), 0);
    /* The first access finds out. */
    for (int i = 0; i < 3; i++) {
        ring_mbox_last_change(ring);
        cr_assert_eq(post("x", NULL), -EIO);
        cr_assert_eq(start_take(mbox, &waiter), -EIO);
    }
    cr_assert_eq(mbox_remove(mbox, false, &ready), 0);
    finish();
    close(home.dir_fd);
    cr_assert_eq(rmdir(path), 0);
}
