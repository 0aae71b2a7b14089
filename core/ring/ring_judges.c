/* Each question has a key: the real user of the process that it is about, which that user can't choose, or
 * KEY_ALL for those about processes of other pid namespaces. A thread takes the first question whose key no
 * other thread is at. Threads are started when there is such a question and none idle, and end when there
 * has been nothing to do for a while. */
#include "ring_judges.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "pid_namespaces.h"
#include "core/base/clock.h"
#include "core/lib/ring_os.h"

#define NS_PER_S UINT64_C(1000000000)

/* No user has it: it is the answer to a user that is not known. */
#define KEY_ALL ((uid_t)-1)

/* A thread without work ends after this. */
#define IDLE_NS NS_PER_S

/* One who may be somebody of another pid namespace is asked about for so long; then he may be. */
#define CANDIDATE_NS 20000000

/* Looking at all processes takes one part of the time of so many. */
#define LOOK_SHARE 32

/* Ids that are looked for at once. */
#define LOOK_MAX 64

struct ring_question {
    atomic_uint n_refs;
    _Atomic(int) verdict; /* enum ring_verdict */
    uint32_t id;
    uid_t key;
    struct ring_judges *judges; /* a reference */
    /* Under the judges' lock: */
    bool is_waiting; /* in the list, which has a reference then */
    TAILQ_ENTRY(ring_question) link;
};

struct worker {
    bool is_busy;
    uid_t key;
    TAILQ_ENTRY(worker) link;
};

struct ring_judges {
    atomic_uint n_refs;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* there is a question, or an answer, or the end */
    /* Under lock: */
    TAILQ_HEAD(, ring_question) questions;
    TAILQ_HEAD(, worker) workers;
    unsigned int n_workers;
    unsigned int n_idle;
    uint64_t look_at_ns; /* not before are all processes looked at again */
    bool is_ending;
};

/* Under lock, which it gives up meanwhile. */
static void wait_until_ns(struct ring_judges *judges, uint64_t until_ns)
{
    struct timespec until = { .tv_sec = (time_t)(until_ns / NS_PER_S),
                              .tv_nsec = (long)(until_ns % NS_PER_S) };

    pthread_cond_timedwait(&judges->changed, &judges->lock, &until);
}

struct ring_judges *ring_judges_new(void)
{
    struct ring_judges *judges = calloc(1, sizeof(*judges));
    pthread_condattr_t monotonic;

    if (!judges)
        return NULL;
    judges->n_refs = 1;
    pthread_mutex_init(&judges->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&judges->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    TAILQ_INIT(&judges->questions);
    TAILQ_INIT(&judges->workers);
    return judges;
}

static void unref(struct ring_judges *judges)
{
    if (atomic_fetch_sub_explicit(&judges->n_refs, 1, memory_order_acq_rel) > 1)
        return;
    pthread_cond_destroy(&judges->changed);
    pthread_mutex_destroy(&judges->lock);
    free(judges);
}

void ring_judges_free(struct ring_judges *judges)
{
    uint64_t until_ns = clock_now_ns() + IDLE_NS;

    if (!judges)
        return;
    pthread_mutex_lock(&judges->lock);
    judges->is_ending = true;
    pthread_cond_broadcast(&judges->changed);
    while (judges->n_workers > 0 && clock_now_ns() < until_ns)
        wait_until_ns(judges, until_ns);
    pthread_mutex_unlock(&judges->lock);
    unref(judges);
}

/* --- Questions --- */

static void question_unref(struct ring_question *question)
{
    if (atomic_fetch_sub_explicit(&question->n_refs, 1, memory_order_acq_rel) > 1)
        return;
    unref(question->judges);
    free(question);
}

enum ring_verdict ring_question_verdict(struct ring_question *question)
{
    return (enum ring_verdict)atomic_load(&question->verdict);
}

/* Under lock: takes it out of the list, and takes the list's reference. */
static void ring_judges_take_out(struct ring_question *question)
{
    TAILQ_REMOVE(&question->judges->questions, question, link);
    question->is_waiting = false;
}

void ring_question_drop(struct ring_question *question)
{
    bool was_waiting;

    if (!question)
        return;
    pthread_mutex_lock(&question->judges->lock);
    was_waiting = question->is_waiting;
    if (was_waiting)
        ring_judges_take_out(question);
    pthread_mutex_unlock(&question->judges->lock);
    if (was_waiting)
        question_unref(question);
    question_unref(question);
}

static void ring_judges_answer(struct ring_question *question, bool is_dead)
{
    atomic_store(&question->verdict, is_dead ? RING_DEAD : RING_LIVES);
    pthread_mutex_lock(&question->judges->lock);
    pthread_cond_broadcast(&question->judges->changed);
    pthread_mutex_unlock(&question->judges->lock);
    question_unref(question);
}

/* --- Threads --- */

/* Under lock. */
static bool is_busy_with(struct ring_judges *judges, uid_t key)
{
    struct worker *worker;

    TAILQ_FOREACH(worker, &judges->workers, link) {
        if (worker->is_busy && worker->key == key)
            return true;
    }
    return false;
}

/* Under lock. Return: the next question that a thread may take up; NULL. */
static struct ring_question *find_next(struct ring_judges *judges)
{
    struct ring_question *question;

    TAILQ_FOREACH(question, &judges->questions, link) {
        if (!is_busy_with(judges, question->key))
            return question;
    }
    return NULL;
}

/* Whether the process @id, of this namespace, is dead, of whom another thread finds out more than this one
 * would like to wait for. */
static bool is_candidate_dead(void *arg, uint32_t id)
{
    struct ring_judges *judges = arg;
    uint64_t until_ns = clock_now_ns() + CANDIDATE_NS;
    struct ring_question *question = ring_judges_ask(judges, id);
    bool is_dead;

    if (!question)
        return false;
    pthread_mutex_lock(&judges->lock);
    while (ring_question_verdict(question) == RING_PENDING && clock_now_ns() < until_ns)
        wait_until_ns(judges, until_ns);
    pthread_mutex_unlock(&judges->lock);
    is_dead = ring_question_verdict(question) == RING_DEAD;
    ring_question_drop(question);
    return is_dead;
}

/* Under lock: takes out all that are about other pid namespaces. Return: how many. */
static unsigned int take_all(struct ring_judges *judges, struct ring_question *all[LOOK_MAX])
{
    struct ring_question *question;
    struct ring_question *next;
    unsigned int n = 0;

    for (question = TAILQ_FIRST(&judges->questions); question && n < LOOK_MAX; question = next) {
        next = TAILQ_NEXT(question, link);
        if (question->key != KEY_ALL)
            continue;
        ring_judges_take_out(question);
        all[n++] = question;
    }
    return n;
}

/* Under lock, which it gives up meanwhile. */
static void ring_judges_look_at_all(struct ring_judges *judges)
{
    struct ring_question *all[LOOK_MAX];
    bool lacks[LOOK_MAX];
    uint32_t ids[LOOK_MAX];
    unsigned int n;
    uint64_t start;

    while (!judges->is_ending && clock_now_ns() < judges->look_at_ns)
        wait_until_ns(judges, judges->look_at_ns);
    n = take_all(judges, all);
    pthread_mutex_unlock(&judges->lock);
    for (unsigned int i = 0; i < n; i++)
        ids[i] = all[i]->id;
    start = clock_now_ns();
    pid_namespaces_lack(ids, n, lacks, is_candidate_dead, judges);
    for (unsigned int i = 0; i < n; i++)
        ring_judges_answer(all[i], lacks[i]);
    pthread_mutex_lock(&judges->lock);
    judges->look_at_ns = clock_now_ns() + (clock_now_ns() - start) * (LOOK_SHARE - 1);
}

/* Under lock, which it gives up meanwhile. */
static void work(struct ring_judges *judges, struct worker *worker, struct ring_question *question)
{
    worker->is_busy = true;
    worker->key = question->key;
    if (question->key == KEY_ALL) {
        ring_judges_look_at_all(judges);
    } else {
        ring_judges_take_out(question);
        pthread_mutex_unlock(&judges->lock);
        ring_judges_answer(question, ipcring_os_claimer_is_dead(question->id));
        pthread_mutex_lock(&judges->lock);
    }
    worker->is_busy = false;
}

/* Under lock. Return: a question; NULL: there has been none for a while. */
static struct ring_question *await(struct ring_judges *judges)
{
    uint64_t until_ns = clock_now_ns() + IDLE_NS;
    struct ring_question *question;

    judges->n_idle++;
    while (!(question = find_next(judges)) && !judges->is_ending && clock_now_ns() < until_ns)
        wait_until_ns(judges, until_ns);
    judges->n_idle--;
    return judges->is_ending ? NULL : question;
}

static void *ring_judges_run(void *arg)
{
    struct ring_judges *judges = arg;
    struct worker worker = { 0 };
    struct ring_question *question;

    pthread_mutex_lock(&judges->lock);
    TAILQ_INSERT_TAIL(&judges->workers, &worker, link);
    while ((question = await(judges)))
        work(judges, &worker, question);
    TAILQ_REMOVE(&judges->workers, &worker, link);
    judges->n_workers--;
    pthread_cond_broadcast(&judges->changed);
    pthread_mutex_unlock(&judges->lock);
    unref(judges);
    return NULL;
}

/* Under lock. Without a thread the question waits for the next. */
static void have_worked(struct ring_judges *judges)
{
    pthread_attr_t attr;
    pthread_t thread;

    pthread_cond_broadcast(&judges->changed);
    if (judges->n_idle > 0 || judges->n_workers == RING_JUDGES_MAX || !find_next(judges))
        return;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    atomic_fetch_add(&judges->n_refs, 1);
    judges->n_workers++;
    if (pthread_create(&thread, &attr, ring_judges_run, judges) != 0) {
        judges->n_workers--;
        atomic_fetch_sub(&judges->n_refs, 1);
    }
    pthread_attr_destroy(&attr);
}

/* --- Asking --- */

/* Return: the real user of process @pid; KEY_ALL: not known. Does not wait, as /proc/PID/stat does. */
static uid_t user_of(pid_t pid)
{
    uid_t uid = KEY_ALL;
    char path[32];
    char line[256];
    FILE *status;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    status = fopen(path, "re");
    if (!status)
        return KEY_ALL;
    while (fgets(line, sizeof(line), status)) {
        if (strncmp(line, "Uid:", 4) != 0)
            continue;
        uid = (uid_t)strtoul(line + 4, NULL, 10);
        break;
    }
    fclose(status);
    return uid;
}

struct ring_question *ring_judges_ask(struct ring_judges *judges, uint32_t id)
{
    struct ring_question *question = judges ? calloc(1, sizeof(*question)) : NULL;

    if (!question)
        return NULL;
    question->n_refs = 2;
    question->id = id;
    question->judges = judges;
    question->key = KEY_ALL;
    if (!(id & IPCRING_ID_FOREIGN)) {
        question->key = user_of((pid_t)(id & IPCRING_ID_PID));
        /* It is gone this moment, or can't be looked at. */
        if (question->key == KEY_ALL)
            question->key = 0;
    }
    atomic_fetch_add(&judges->n_refs, 1);
    pthread_mutex_lock(&judges->lock);
    question->is_waiting = true;
    TAILQ_INSERT_TAIL(&judges->questions, question, link);
    have_worked(judges);
    pthread_mutex_unlock(&judges->lock);
    return question;
}
