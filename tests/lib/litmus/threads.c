/* The threads are coroutines, each with a stack of its own. Whoever has the turn goes on until threads_step()
 * gives it to another, or it waits. When all wait the clock goes on. */
#include "threads.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "atomics.h"
#include "core/lib/ring_os.h"
#include "letters.h"
#include "memory.h"
#include "search.h"

#define STACK_BYTES 65536
#define ARENA_BYTES 65536
#define N_STEPS_MAX 20000U

/* When all wait, each is woken by the clock so often, where somebody has died, before it counts as for ever;
 * else once. */
#define N_TIMEOUTS_IN_VAIN 6U

enum state {
    STATE_NONE,
    STATE_WAITS, /* for another's death */
    STATE_RUNS,
    STATE_SLEEPS,
    STATE_ENDED,
    STATE_DEAD,
};

struct thread {
    ucontext_t context;
    const struct thread_spec *spec;
    const void *asleep_on;
    uint64_t timeout_ns;
    enum state state;
    bool timed_out;
    bool is_registered;
};

static struct thread threads[N_THREADS_MAX];
static char stacks[N_THREADS_MAX][STACK_BYTES] __attribute__((aligned(64)));
static char arena[ARENA_BYTES] __attribute__((aligned(64)));
static size_t arena_used;
static void *last_alloc;

static ucontext_t main_context;
static unsigned int n_threads;
static unsigned int running; /* 0: none */
static unsigned int acting;
static unsigned int n_steps;
static unsigned int n_timeouts;
static unsigned int n_timeouts_in_vain;
static uint64_t clock_ns;
static bool anybody_died;
static bool membarrier_works = true;

void (*threads_say_run)(void);

void violation(const char *what, ...)
{
    va_list args;

    memory_print_log();
    printf("found, by %u: ", threads_self());
    va_start(args, what);
    vprintf(what, args);
    va_end(args);
    putchar('\n');
    if (threads_say_run)
        threads_say_run();
    fflush(stdout);
    _Exit(letters_anything_lacks() ? 0 : 1);
}

void machine_fault(const char *what)
{
    memory_print_log();
    fprintf(stderr, "the machine: %s\n", what);
    _Exit(2);
}

unsigned int threads_self(void)
{
    return running ? running : acting;
}

bool threads_may_deviate(void)
{
    return running != 0 && (n_timeouts == 0 || anybody_died);
}

void threads_act_as(unsigned int who, bool is_registered)
{
    acting = who;
    threads[who].is_registered = is_registered;
}

void threads_set_membarrier(bool works)
{
    membarrier_works = works;
}

bool threads_is_dead(unsigned int who)
{
    return threads[who].state == STATE_DEAD;
}

bool threads_has_ended(unsigned int who)
{
    return threads[who].state == STATE_ENDED;
}

bool threads_anybody_died(void)
{
    return anybody_died;
}

void threads_progress(void)
{
    n_timeouts_in_vain = 0;
}

/* --- Whose turn it is --- */

static bool can_run(unsigned int who)
{
    struct thread *thread = &threads[who];

    if (thread->state == STATE_WAITS && threads_is_dead(thread->spec->heir_of)) {
        memory_sees_death(who, thread->spec->heir_of);
        thread->state = STATE_RUNS;
    }
    return thread->state == STATE_RUNS;
}

/* Return: the first from @from on, in turn, that can run, but for @but; 0: none. */
static unsigned int next_from(unsigned int from, unsigned int but)
{
    for (unsigned int i = 0; i < n_threads; i++) {
        unsigned int who = 1 + (from - 1 + i) % n_threads;

        if (who != but && can_run(who))
            return who;
    }
    return 0;
}

/* Gives the turn to @who; to threads_run where it is 0. */
static void switch_to(unsigned int who)
{
    unsigned int before = running;

    if (who == before)
        return;
    running = who;
    swapcontext(&threads[before].context, who ? &threads[who].context : &main_context);
}

/* @who is the first candidate, who goes on by itself; but for @but all others are candidates too. */
static void give_turn(unsigned int who, unsigned int but)
{
    unsigned int candidates[N_THREADS_MAX];
    unsigned int n = 0;

    for (unsigned int i = 0; who && i < n_threads; i++) {
        unsigned int other = 1 + (who - 1 + i) % n_threads;

        if (other != but && can_run(other))
            candidates[n++] = other;
    }
    switch_to(n == 0 ? 0 : candidates[threads_may_deviate() ? search_choose(CHOICE_SWITCH, n) : 0]);
}

static void leave(enum state state)
{
    unsigned int me = running;

    threads[me].state = state;
    give_turn(next_from(me, me), me);
}

void threads_step(void)
{
    if (running == 0)
        return;
    if (++n_steps > N_STEPS_MAX)
        violation("it goes on for ever");
    if (threads[running].spec->may_die && !anybody_died && threads_may_deviate() &&
        search_choose(CHOICE_DEATH, 2)) {
        anybody_died = true;
        leave(STATE_DEAD);
    }
    give_turn(running, 0);
}

void threads_yield(void)
{
    unsigned int other = next_from(running, running);

    memory_issue(running);
    if (other)
        give_turn(other, running);
    else
        memory_time_passes(running);
}

static void run_thread(void)
{
    threads[running].spec->fn(running);
    memory_issue(running);
    leave(STATE_ENDED);
}

/* All wait. Return: who is woken by the clock; 0: that was in vain. */
static unsigned int let_time_pass(void)
{
    unsigned int first = 0;

    for (unsigned int i = 1; i <= n_threads; i++)
        if (threads[i].state == STATE_SLEEPS &&
            (first == 0 || threads[i].timeout_ns < threads[first].timeout_ns))
            first = i;
    if (first == 0 || n_timeouts_in_vain++ >= n_threads * (anybody_died ? N_TIMEOUTS_IN_VAIN : 1))
        return 0;
    n_timeouts++;
    for (unsigned int i = 1; i <= n_threads; i++)
        memory_time_passes(i);
    clock_ns += threads[first].timeout_ns;
    for (unsigned int i = 1; i <= n_threads; i++)
        if (threads[i].state == STATE_SLEEPS && i != first)
            threads[i].timeout_ns -= threads[first].timeout_ns;
    threads[first].timed_out = true;
    threads[first].state = STATE_RUNS;
    return first;
}

void threads_run(const struct thread_spec *specs, unsigned int n)
{
    unsigned int who;

    n_threads = n;
    n_steps = n_timeouts = n_timeouts_in_vain = 0;
    anybody_died = false;
    for (who = 1; who <= n; who++) {
        struct thread *thread = &threads[who];

        thread->spec = &specs[who];
        thread->state = specs[who].heir_of ? STATE_WAITS : STATE_RUNS;
        thread->is_registered = specs[who].is_registered;
        getcontext(&thread->context);
        thread->context.uc_stack.ss_sp = stacks[who];
        thread->context.uc_stack.ss_size = STACK_BYTES;
        thread->context.uc_link = NULL;
        makecontext(&thread->context, run_thread, 0);
        memory_thread_starts(who, 0);
    }
    acting = 0;
    for (who = next_from(1, 0); who != 0; who = let_time_pass()) {
        running = who;
        swapcontext(&main_context, &threads[who].context);
        running = 0;
    }
    arena_used = 0;
}

/* --- System calls --- */

static long futex_wait(const void *word, uint32_t value, const struct timespec *timeout)
{
    struct thread *thread = &threads[running];

    threads_step();
    if (memory_newest(word) != value)
        return errno = EAGAIN, -1;
    thread->asleep_on = word;
    thread->timeout_ns = (uint64_t)timeout->tv_sec * 1000000000U + (uint64_t)timeout->tv_nsec;
    thread->timed_out = false;
    leave(STATE_SLEEPS);
    return thread->timed_out ? (errno = ETIMEDOUT, -1) : 0;
}

static long futex_wake(const void *word)
{
    long n = 0;

    threads_step();
    for (unsigned int i = 1; i <= n_threads; i++) {
        if (threads[i].state != STATE_SLEEPS || threads[i].asleep_on != word)
            continue;
        threads[i].state = STATE_RUNS;
        n++;
    }
    return n;
}

/* Full fences of all that have registered, each at a moment of its own. */
static long membarrier(void)
{
    unsigned int me = running;

    if (!membarrier_works)
        return errno = ENOSYS, -1;
    if (letters_lack('G'))
        return 0;
    memory_fence(me, true);
    for (unsigned int i = 1; i <= n_threads; i++) {
        if (i == me || !threads[i].is_registered)
            continue;
        threads_step();
        memory_fence(i, false);
    }
    memory_fence(me, true);
    return 0;
}

long real_syscall(long number, ...)
{
    va_list args;
    long a, b, c, d;

    va_start(args, number);
    a = va_arg(args, long);
    b = va_arg(args, int);
    if (number == SYS_membarrier) {
        va_end(args);
        if (a == MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED)
            return threads[threads_self()].is_registered ? 0 : (errno = ENOSYS, -1);
        return membarrier();
    }
    c = va_arg(args, int);
    d = va_arg(args, long);
    va_end(args);
    memory_issue(running);
    return b == FUTEX_WAIT ? futex_wait((const void *)a, (uint32_t)c, (const struct timespec *)d)
                           : futex_wake((const void *)a);
}

int real_clock_gettime(clockid_t clock, struct timespec *ret_now)
{
    clock_ns += 5000;
    ret_now->tv_sec = (time_t)(clock_ns / 1000000000U);
    ret_now->tv_nsec = (long)(clock_ns % 1000000000U);
    return 0;
}

pid_t real_getpid(void)
{
    return (pid_t)threads_self();
}

void *real_alloc(size_t n_bytes)
{
    char *p = arena + arena_used;

    last_alloc = p;
    arena_used += (n_bytes + 63) & ~(size_t)63;
    if (arena_used > sizeof(arena))
        machine_fault("too little memory");
    return p;
}

void real_free(void *p)
{
    if (p == last_alloc)
        arena_used = (size_t)((char *)p - arena);
}

uint64_t ipcring_os_pid_namespace(void)
{
    return 1;
}

uint32_t ipcring_os_own_id(void)
{
    return threads_self();
}

/* Who is told of a death, by the kernel, comes after it. */
bool ipcring_os_claimer_is_dead(uint32_t id)
{
    if (id >= N_THREADS_MAX || !threads_is_dead(id))
        return false;
    memory_sees_death(running, id);
    return true;
}
