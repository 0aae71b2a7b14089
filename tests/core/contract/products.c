/* Every short history of a mailbox: capacity x policy x what is sent (long or short, urgent or not, waiting or not) x
 * what is received (into a small buffer or a large one, waiting or not) x who is interrupted.
 *
 * What must come of it is computed by a mailbox that is nothing but the contract's words: one array of messages, in
 * order, and a list of calls. After each step every call that is over has what it should, no other is over, and
 * stat and poll tell the same. A history ends with all calls interrupted and the mailbox emptied; the next one begins
 * in the same mailbox, whose counters go on.
 *
 * From the environment: PRODUCT_LENGTH, the steps of a history; PRODUCT_SAMPLES, how many histories of each
 * capacity and policy, spread evenly over all, where it is not all. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/core/contract/contract.h"

#define SHORT_BYTES 2
#define LONG_BYTES 5
#define SMALL_BUFFER 3 /* a short message fits */
#define LARGE_BUFFER 64
#define BOX_BYTES 6  /* one of each does not fit */
#define CALLS_MAX 64 /* more than a history has steps */

enum verb {
    SEND,
    RECV,
    INTERRUPT_SENDER,
    INTERRUPT_RECEIVER,
};

struct step {
    enum verb verb;
    size_t n_bytes; /* of a message, or of a buffer */
    unsigned int prio;
    bool nonblock;
};

static const struct step steps[] = {
    { SEND, SHORT_BYTES, 0, true },  { SEND, SHORT_BYTES, 0, false },
    { SEND, SHORT_BYTES, 1, true },  { SEND, SHORT_BYTES, 1, false },
    { SEND, LONG_BYTES, 0, true },   { SEND, LONG_BYTES, 0, false },
    { SEND, LONG_BYTES, 1, true },   { SEND, LONG_BYTES, 1, false },
    { RECV, SMALL_BUFFER, 0, true }, { RECV, SMALL_BUFFER, 0, false },
    { RECV, LARGE_BUFFER, 0, true }, { RECV, LARGE_BUFFER, 0, false },
    { .verb = INTERRUPT_SENDER },    { .verb = INTERRUPT_RECEIVER },
};

#define N_STEPS (sizeof(steps) / sizeof(steps[0]))

struct message {
    char text[LONG_BYTES + 1];
    size_t n_bytes;
    unsigned int prio;
    struct ask *sender; /* who waits; NULL: it is in the mailbox */
};

/* A call: what was asked, and what must have come of it. */
struct ask {
    struct call *call; /* NULL: compared */
    struct step step;
    bool ended;
    ssize_t result;
    char text[LONG_BYTES + 1]; /* received */
};

/* The mailbox as the contract has it, beside the real one. */
struct model {
    const struct driver *driver;
    void *box;
    const char *settings;
    uint64_t capacity;
    uint64_t capacity_bytes;
    enum mbox_overflow overflow;

    struct message inside[CALLS_MAX]; /* in the order of delivery */
    struct message
        outside[CALLS_MAX]; /* whose senders wait, in the order in which they are let in */
    size_t n_inside;
    size_t n_outside;
    struct ask asks[CALLS_MAX]; /* of this history, in the order they came */
    size_t n_asks;
    unsigned int last_text;
    struct mbox_stat stat;
};

static const char *name_of(const struct step *step)
{
    static char name[64];

    if (step->verb == SEND)
        snprintf(name, sizeof(name), "send %zu bytes at %u%s", step->n_bytes, step->prio,
                 step->nonblock ? ", not waiting" : "");
    else if (step->verb == RECV)
        snprintf(name, sizeof(name), "receive into %zu%s", step->n_bytes,
                 step->nonblock ? ", not waiting" : "");
    else
        snprintf(name, sizeof(name), "interrupt the first %s",
                 step->verb == INTERRUPT_SENDER ? "sender" : "receiver");
    return name;
}

__attribute__((format(printf, 2, 3))) static void differ(struct model *m, const char *format, ...)
{
    char what[256];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    fprintf(stderr, "%s\n", m->settings);
    for (size_t i = 0; i < m->n_asks; i++)
        fprintf(stderr, "  %s\n", name_of(&m->asks[i].step));
    cr_assert_fail("%s", what);
}

static void insert(struct message *queue, size_t *n, const struct message *message)
{
    size_t at = 0;

    while (at < *n && queue[at].prio >= message->prio)
        at++;
    memmove(queue + at + 1, queue + at, (*n - at) * sizeof(*queue));
    queue[at] = *message;
    ++*n;
}

static void take_out(struct message *queue, size_t *n, size_t at)
{
    --*n;
    memmove(queue + at, queue + at + 1, (*n - at) * sizeof(*queue));
}

static void end(struct ask *ask, ssize_t result)
{
    ask->ended = true;
    ask->result = result;
}

static bool is_rendezvous(const struct model *m)
{
    return m->capacity == 0;
}

static uint64_t bytes_inside(const struct model *m)
{
    uint64_t n = 0;

    for (size_t i = 0; i < m->n_inside; i++)
        n += m->inside[i].n_bytes;
    return n;
}

static bool fits(const struct model *m, size_t n_bytes)
{
    return m->n_inside < m->capacity && bytes_inside(m) + n_bytes <= m->capacity_bytes;
}

/* "Waiting receivers are served in the order they came": who has asked first, and waits. */
static struct ask *first_waiting(struct model *m, enum verb verb)
{
    for (size_t i = 0; i < m->n_asks; i++)
        if (m->asks[i].step.verb == verb && !m->asks[i].ended)
            return &m->asks[i];
    return NULL;
}

static void deliver(struct model *m, struct ask *receiver, const struct message *message)
{
    end(receiver, (ssize_t)message->n_bytes);
    strcpy(receiver->text, message->text);
    m->stat.n_received++;
}

/* "A buffer too small is EMSGSIZE and the message stays." Return: whether a receiver who waits has it. */
static bool hand_over(struct model *m, const struct message *message)
{
    struct ask *receiver;

    while ((receiver = first_waiting(m, RECV))) {
        if (message->n_bytes <= receiver->step.n_bytes) {
            deliver(m, receiver, message);
            return true;
        }
        end(receiver, -EMSGSIZE);
    }
    return false;
}

/* "The oldest of the lowest priority goes, counted; the newcomer is judged with the rest." Return: whether
 * the newcomer stays. */
static bool drop_for(struct model *m, const struct message *newcomer)
{
    while (!fits(m, newcomer->n_bytes)) {
        unsigned int lowest = m->inside[m->n_inside - 1].prio;
        size_t at = 0;

        m->stat.n_dropped++;
        if (newcomer->prio < lowest)
            return false;
        while (m->inside[at].prio > lowest)
            at++;
        take_out(m->inside, &m->n_inside, at);
    }
    return true;
}

static void put_in(struct model *m, const struct message *message)
{
    m->stat.n_sent++;
    if (!hand_over(m, message))
        insert(m->inside, &m->n_inside, message);
}

/* Nobody has taken @message, or there is no room for it. */
static void refuse_or_wait(struct model *m, struct ask *sender, struct message *message)
{
    if (m->overflow == MBOX_OVERFLOW_REJECT) {
        m->stat.n_rejected++;
        end(sender, -ENOBUFS);
    } else if (sender->step.nonblock) {
        end(sender, -EAGAIN);
    } else {
        message->sender = sender;
        insert(m->outside, &m->n_outside, message);
    }
}

static void expect_send(struct model *m, struct ask *sender, struct message *message)
{
    bool is_behind_others = m->n_outside > 0 && m->outside[0].prio >= message->prio;

    if (is_rendezvous(m)) {
        if (!hand_over(m, message)) {
            refuse_or_wait(m, sender, message);
            return;
        }
        m->stat.n_sent++;
    } else if (!is_behind_others && fits(m, message->n_bytes)) {
        put_in(m, message);
    } else if (m->overflow != MBOX_OVERFLOW_DROP_OLDEST) {
        refuse_or_wait(m, sender, message);
        return;
    } else if (drop_for(m, message)) {
        put_in(m, message);
    } else {
        m->stat.n_sent++;
    }
    end(sender, (ssize_t)message->n_bytes);
}

static void let_in(struct model *m)
{
    while (!is_rendezvous(m) && m->n_outside > 0 && fits(m, m->outside[0].n_bytes)) {
        struct message message = m->outside[0];

        take_out(m->outside, &m->n_outside, 0);
        end(message.sender, (ssize_t)message.n_bytes);
        message.sender = NULL;
        put_in(m, &message);
    }
}

static void expect_receive(struct model *m, struct ask *receiver)
{
    struct message *queue = is_rendezvous(m) ? m->outside : m->inside;
    size_t *n = is_rendezvous(m) ? &m->n_outside : &m->n_inside;

    if (*n == 0 && receiver->step.nonblock)
        end(receiver, -EAGAIN);
    if (*n == 0)
        return;
    if (queue->n_bytes > receiver->step.n_bytes) {
        end(receiver, -EMSGSIZE);
        return;
    }
    deliver(m, receiver, queue);
    if (queue->sender) {
        m->stat.n_sent++;
        end(queue->sender, (ssize_t)queue->n_bytes);
    }
    take_out(queue, n, 0);
    let_in(m);
}

static void expect_interrupted(struct model *m, struct ask *ask)
{
    end(ask, -EINTR);
    for (size_t i = 0; i < m->n_outside; i++)
        if (m->outside[i].sender == ask)
            take_out(m->outside, &m->n_outside, i);
    let_in(m);
}

static unsigned int expected_readiness(struct model *m)
{
    bool readable = m->n_inside > 0 || (is_rendezvous(m) && m->n_outside > 0);
    bool writable = m->overflow == MBOX_OVERFLOW_REJECT;

    if (is_rendezvous(m))
        writable = writable || first_waiting(m, RECV);
    else
        writable = writable || m->overflow == MBOX_OVERFLOW_DROP_OLDEST ||
                   (m->n_outside == 0 && fits(m, 1));
    return (readable ? MBOX_READABLE : 0) | (writable ? MBOX_WRITABLE : 0);
}

static struct mbox_stat expected_stat(const struct model *m)
{
    struct mbox_stat stat = m->stat;

    stat.n_messages = m->n_inside;
    stat.n_bytes = bytes_inside(m);
    stat.n_senders_waiting = m->n_outside;
    for (size_t i = 0; i < m->n_asks; i++)
        stat.n_receivers_waiting += m->asks[i].step.verb == RECV && !m->asks[i].ended;
    return stat;
}

static bool stats_are_equal(const struct mbox_stat *a, const struct mbox_stat *b)
{
    return a->n_messages == b->n_messages && a->n_bytes == b->n_bytes && a->n_sent == b->n_sent &&
           a->n_received == b->n_received && a->n_dropped == b->n_dropped &&
           a->n_rejected == b->n_rejected && a->n_senders_waiting == b->n_senders_waiting &&
           a->n_receivers_waiting == b->n_receivers_waiting;
}

/* A daemon counts a message as received once the kernel has taken the reply, and the receiver may be faster. */
static bool comes_true(struct model *m)
{
    struct mbox_stat expected = expected_stat(m);
    unsigned int readiness = expected_readiness(m);

    for (int i = 0; i < (m->driver->at_once ? 1 : 30000); i++) {
        struct mbox_stat stat;

        if (m->driver->stat(m->box, &stat) < 0)
            return false;
        if (stats_are_equal(&stat, &expected) && m->driver->poll(m->box) == readiness)
            return true;
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    }
    return false;
}

static void show_stat(const char *whose, const struct mbox_stat *stat, unsigned int readiness)
{
    fprintf(stderr,
            "%s: messages %lu bytes %lu sent %lu received %lu dropped %lu rejected %lu senders %lu "
            "receivers %lu ready %u\n",
            whose, (unsigned long)stat->n_messages, (unsigned long)stat->n_bytes,
            (unsigned long)stat->n_sent, (unsigned long)stat->n_received,
            (unsigned long)stat->n_dropped, (unsigned long)stat->n_rejected,
            (unsigned long)stat->n_senders_waiting, (unsigned long)stat->n_receivers_waiting,
            readiness);
}

static void compare_call(struct model *m, struct ask *ask)
{
    static char data[MBOX_MESSAGE_BYTES_MAX + 1];
    ssize_t n;

    if (m->driver->at_once && !m->driver->has_ended(ask->call))
        differ(m, "'%s' waits, and should have ended with %zd", name_of(&ask->step), ask->result);
    n = m->driver->finish(ask->call, data);
    ask->call = NULL;
    if (n != ask->result)
        differ(m, "'%s' is %zd, not %zd", name_of(&ask->step), n, ask->result);
    if (n > 0 && ask->step.verb == RECV && memcmp(data, ask->text, (size_t)n) != 0)
        differ(m, "received '%.*s', not '%s'", (int)n, data, ask->text);
}

static void compare(struct model *m)
{
    for (size_t i = 0; i < m->n_asks; i++) {
        struct ask *ask = &m->asks[i];

        if (ask->call && ask->ended)
            compare_call(m, ask);
        else if (ask->call && m->driver->has_ended(ask->call))
            differ(m, "'%s' has ended, and should wait", name_of(&ask->step));
    }
    if (!comes_true(m)) {
        struct mbox_stat expected = expected_stat(m);
        struct mbox_stat stat;

        m->driver->stat(m->box, &stat);
        show_stat("expected", &expected, expected_readiness(m));
        show_stat("is", &stat, m->driver->poll(m->box));
        differ(m, "stat or poll differs");
    }
}

/* The expectation first: a real call that should wait has then nobody to wait for but the others. */
static void ask_for(struct model *m, const struct step *step)
{
    struct ask *ask = &m->asks[m->n_asks++];

    *ask = (struct ask){ .step = *step };
    if (step->verb == SEND) {
        struct message message = { .n_bytes = step->n_bytes, .prio = step->prio };

        snprintf(message.text, sizeof(message.text), "%0*x", (int)step->n_bytes,
                 m->last_text++ % 256);
        expect_send(m, ask, &message);
        ask->call = m->driver->start_send(m->box, message.text, step->n_bytes, step->prio,
                                          step->nonblock);
    } else {
        expect_receive(m, ask);
        ask->call = m->driver->start_recv(m->box, step->n_bytes, step->nonblock);
    }
}

static bool interrupt_first(struct model *m, enum verb verb)
{
    struct ask *ask = first_waiting(m, verb);

    if (!ask)
        return false;
    expect_interrupted(m, ask);
    m->driver->interrupt(ask->call);
    return true;
}

static void run_step(struct model *m, const struct step *step)
{
    if (step->verb == INTERRUPT_SENDER)
        interrupt_first(m, SEND);
    else if (step->verb == INTERRUPT_RECEIVER)
        interrupt_first(m, RECV);
    else
        ask_for(m, step);
    compare(m);
}

static void clean_up(struct model *m)
{
    static const struct step rest = { RECV, LARGE_BUFFER, 0, true };

    while (interrupt_first(m, SEND) || interrupt_first(m, RECV))
        compare(m);
    while (m->n_inside > 0) {
        ask_for(m, &rest);
        compare(m);
    }
    m->n_asks = 0;
}

static void run_history(struct model *m, uint64_t which, unsigned int length)
{
    for (unsigned int i = 0; i < length; i++) {
        run_step(m, &steps[which % N_STEPS]);
        which /= N_STEPS;
    }
    clean_up(m);
}

static uint64_t number_of(const char *variable, uint64_t otherwise)
{
    const char *text = getenv(variable);

    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

static void run_product(uint64_t capacity, enum mbox_overflow overflow, const char *settings)
{
    unsigned int length = (unsigned int)number_of("PRODUCT_LENGTH", 3);
    struct model *m = calloc(1, sizeof(*m));
    uint64_t n = 1;
    uint64_t n_run;

    cr_assert_leq(length, CALLS_MAX / 2);
    for (unsigned int i = 0; i < length; i++)
        n *= N_STEPS;
    n_run = number_of("PRODUCT_SAMPLES", n);
    m->driver = &contract_driver;
    m->settings = settings;
    m->capacity = capacity;
    m->capacity_bytes = BOX_BYTES;
    m->overflow = overflow;
    m->box = m->driver->make();
    cr_assert_eq(m->driver->configure(m->box, settings), 0);
    /* A prime step goes through all, and the samples differ in every place. */
    for (uint64_t i = 0; i < n_run; i++)
        run_history(m, n_run == n ? i : (i * UINT64_C(2654435761) + capacity + overflow) % n,
                    length);
    m->driver->destroy(m->box);
    free(m);
}

#define PRODUCT(capacity, policy, overflow)                                                        \
    Test(products, messages_##capacity##_##policy)                                                 \
    {                                                                                              \
        run_product(capacity, MBOX_OVERFLOW_##policy,                                              \
                    "messages=" #capacity "\nbytes=6\noverflow=" overflow);                        \
    }

#define PRODUCTS_OF(capacity)                                                                      \
    PRODUCT(capacity, BLOCK, "block")                                                              \
    PRODUCT(capacity, REJECT, "reject")                                                            \
    PRODUCT(capacity, DROP_OLDEST, "drop-oldest")

PRODUCTS_OF(0)
PRODUCTS_OF(1)
PRODUCTS_OF(2)
PRODUCTS_OF(9) /* more than the bytes allow */
