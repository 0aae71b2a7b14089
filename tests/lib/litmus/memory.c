/* What core calls in place of atomics is here: it chooses what a load sees, notes what each store brings with
 * it, and checks payloads. The model is that of C11, operational: of views and of one order for each word. */
#include "memory.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/ring/ring.h"
#include "letters.h"
#include "search.h"
#include "threads.h"

#define N_WORDS_MAX 48U
#define N_VALUES_MAX 512U
#define N_GUESSES_MAX 256U
#define N_LOGGED 400U

/* So many values behind the newest a load goes at most. */
#define N_READS_BACK 3U

/* Loads of one run that see old values at most: in time everything becomes visible. */
#define N_OLD_READS_MAX 64U

/* What a thread is sure to see, and who has done what before. */
struct view {
    uint16_t at[N_WORDS_MAX];      /* of each word the oldest value it may see */
    uint16_t clock[N_THREADS_MAX]; /* of each thread the last step that came before */
};

struct value {
    uint64_t value;
    struct view released; /* who acquires it sees that */
    uint16_t writer;
    uint16_t clock; /* the writer's */
};

struct word {
    size_t offset;
    enum kind kind;
    unsigned int n_values;
    uint16_t common_at;                 /* of the common view */
    uint16_t read_clock[N_THREADS_MAX]; /* payload: each thread's last read */
    struct value values[N_VALUES_MAX];
};

/* A payload's word that was read, perhaps while it was written. */
struct guess {
    uint16_t word;
    uint16_t at;
    uint16_t clock;
    bool is_race;
};

struct thread {
    struct view view;
    struct view read;   /* all that came with what it has read: an acquire fence takes that over */
    struct view fenced; /* at its last release fence */
    uint16_t issued_at[N_WORDS_MAX]; /* of its own stores, what the processor has */
    struct guess guesses[N_GUESSES_MAX];
    unsigned int n_guesses;
};

struct event {
    const struct site *site;
    const char *what;
    uint64_t value;
    size_t offset;
    uint16_t who;
    uint16_t back; /* values that are newer */
    enum kind kind;
};

static struct word words[N_WORDS_MAX];
static unsigned int n_words;
static struct thread threads[N_THREADS_MAX];
static unsigned int n_old_reads;

static char *map;
static size_t map_bytes;
static size_t slot_bytes;
static bool one_consumer;
static bool each;
static uint16_t word_at[1 << 14]; /* for each 4 bytes of the map its word + 1 */

static struct event log_[N_LOGGED];
static unsigned int n_logged;

static void note(const struct site *site, const char *what, const struct word *word, uint64_t value,
                 unsigned int back)
{
    log_[n_logged++ % N_LOGGED] = (struct event){
        .site = site,
        .what = what,
        .value = value,
        .offset = word ? word->offset : 0,
        .who = (uint16_t)threads_self(),
        .back = (uint16_t)back,
        .kind = word ? word->kind : KIND_NONE,
    };
}

void memory_print_log(void)
{
    static const char *const kinds[] = { "magic", "geometry", "head", "tail", "role",
                                         "wait",  "slot",     "data", "" };
    unsigned int first = n_logged > N_LOGGED ? n_logged - N_LOGGED : 0;

    for (unsigned int i = first; i < n_logged; i++) {
        const struct event *event = &log_[i % N_LOGGED];
        const char *file = event->site ? strrchr(event->site->file, '/') : NULL;

        printf("%u: %s %s", event->who, event->what, kinds[event->kind]);
        if (event->kind != KIND_NONE)
            printf(" @%zu %016" PRIx64, event->offset, event->value);
        if (event->back > 0)
            printf(" (%u newer)", event->back);
        if (event->site)
            printf("  %s:%d", file ? file + 1 : event->site->file, event->site->line);
        putchar('\n');
    }
}

/* --- Words and views --- */

static enum kind kind_of(size_t offset)
{
    switch (offset) {
    case IPCRING_AT_MAGIC:
        return KIND_MAGIC;
    case IPCRING_AT_HEAD:
        return KIND_HEAD;
    case IPCRING_AT_TAIL:
        return KIND_TAIL;
    case IPCRING_AT_PRODUCER:
    case IPCRING_AT_CONSUMER:
        return KIND_ROLE;
    case IPCRING_AT_WAIT_DATA:
    case IPCRING_AT_WAIT_SPACE:
        return KIND_WAIT;
    default:
        if (offset < IPCRING_AT_SLOT_0)
            return KIND_GEOMETRY;
        return (offset - IPCRING_AT_SLOT_0) % slot_bytes == 0 ? KIND_SLOT : KIND_PAYLOAD;
    }
}

static struct word *find_word(const volatile void *p)
{
    size_t offset = (size_t)((const volatile char *)p - map);
    struct word *word;

    if (offset >= map_bytes)
        violation("an access outside of the map, at %zu", offset);
    if (word_at[offset / 4] > 0)
        return &words[word_at[offset / 4] - 1];
    if (n_words == N_WORDS_MAX)
        machine_fault("too few words");
    word = &words[n_words++];
    word_at[offset / 4] = (uint16_t)n_words;
    word->offset = offset;
    word->kind = kind_of(offset);
    word->common_at = 0;
    memset(word->read_clock, 0, sizeof(word->read_clock));
    word->n_values = 1;
    memset(&word->values[0], 0, sizeof(word->values[0]));
    return word;
}

static size_t index_of(const struct word *word)
{
    return (size_t)(word - words);
}

static struct thread *self(void)
{
    return &threads[threads_self()];
}

static void raise_to(uint16_t *at, uint16_t to)
{
    if (*at < to)
        *at = to;
}

static void join_at(uint16_t *at, const uint16_t *other)
{
    for (unsigned int i = 0; i < n_words; i++)
        raise_to(&at[i], other[i]);
}

static void join(struct view *view, const struct view *other)
{
    join_at(view->at, other->at);
    for (unsigned int i = 0; i < N_THREADS_MAX; i++)
        raise_to(&view->clock[i], other->clock[i]);
}

/* Return: this thread's step, which begins. */
static uint16_t tick(void)
{
    return ++self()->view.clock[threads_self()];
}

static bool came_before(const struct view *view, unsigned int who, uint16_t clock)
{
    return view->clock[who] >= clock;
}

void memory_issue(unsigned int who)
{
    memcpy(threads[who].issued_at, threads[who].view.at, sizeof(threads[who].issued_at));
}

void memory_fence(unsigned int who, bool whole)
{
    struct thread *thread = &threads[who];

    if (whole)
        memory_issue(who);
    for (unsigned int i = 0; i < n_words; i++) {
        raise_to(&words[i].common_at, thread->issued_at[i]);
        raise_to(&thread->view.at[i], words[i].common_at);
    }
}

/* --- Payloads --- */

static void check_write(const struct word *word)
{
    const struct view *view = &self()->view;
    const struct value *last = &word->values[word->n_values - 1];

    if (!came_before(view, last->writer, last->clock))
        violation("payload @%zu is written by two at once", word->offset);
    for (unsigned int i = 0; i < N_THREADS_MAX; i++)
        if (!came_before(view, i, word->read_clock[i]))
            violation("payload @%zu is written while it is read by %u", word->offset, i);
}

static void read_payload(struct word *word, uint16_t at, uint16_t clock)
{
    struct thread *thread = self();
    const struct value *newest = &word->values[word->n_values - 1];
    bool is_race = !came_before(&thread->view, newest->writer, newest->clock);

    if (each)
        return;
    if (one_consumer) {
        if (is_race)
            violation("payload @%zu is read while it is written", word->offset);
        word->read_clock[threads_self()] = clock;
        return;
    }
    if (thread->n_guesses == N_GUESSES_MAX)
        machine_fault("too few guesses");
    thread->guesses[thread->n_guesses++] = (struct guess){ (uint16_t)index_of(word), at, clock,
                                                           is_race };
}

/* This thread has moved tail: what it read before is what it took. */
static void confirm_guesses(void)
{
    struct thread *thread = self();

    for (unsigned int i = 0; i < thread->n_guesses; i++) {
        const struct guess *guess = &thread->guesses[i];
        struct word *word = &words[guess->word];

        if (guess->is_race || guess->at != word->n_values - 1)
            violation("payload @%zu was taken though it was written meanwhile", word->offset);
        word->read_clock[threads_self()] = guess->clock;
    }
    thread->n_guesses = 0;
}

/* --- Loads and stores --- */

/* Return: which value of @word is seen. */
static uint16_t choose_value(struct word *word, unsigned int order)
{
    struct thread *thread = self();
    uint16_t newest = (uint16_t)(word->n_values - 1);
    uint16_t oldest = thread->view.at[index_of(word)];
    unsigned int back;

    if (order & SEQ_CST)
        raise_to(&oldest, word->common_at);
    if (newest - oldest > (int)N_READS_BACK)
        oldest = (uint16_t)(newest - N_READS_BACK);
    if (n_old_reads >= N_OLD_READS_MAX || !threads_may_deviate())
        return newest;
    /* A payload's race is found wherever it is read. */
    if (word->kind == KIND_PAYLOAD && one_consumer)
        return newest;
    back = search_choose(CHOICE_READ, 1U + newest - oldest);
    n_old_reads += back > 0;
    return (uint16_t)(newest - back);
}

static uint64_t see(struct word *word, uint16_t at, unsigned int order)
{
    struct thread *thread = self();
    const struct value *value = &word->values[at];

    raise_to(&thread->view.at[index_of(word)], at);
    /* What others have stored, and it has seen, is no matter of its own compiler's. */
    if (value->writer != threads_self())
        raise_to(&thread->issued_at[index_of(word)], at);
    if (order & SEQ_CST)
        raise_to(&word->common_at, at);
    join(&thread->read, &value->released);
    if (order & ACQUIRE) {
        join(&thread->view, &value->released);
        if (value->writer != threads_self())
            join_at(thread->issued_at, value->released.at);
    }
    return value->value;
}

/* @read is the value that it takes the place of, in one; NULL: a plain store. */
static void put(struct word *word, uint64_t new_value, unsigned int order, const struct value *read)
{
    struct thread *thread = self();
    uint16_t at = (uint16_t)word->n_values;
    struct value *value = &word->values[at];

    if (word->n_values == N_VALUES_MAX)
        machine_fault("too few values");
    word->n_values++;
    value->value = new_value;
    value->writer = (uint16_t)threads_self();
    value->clock = thread->view.clock[threads_self()];
    thread->view.at[index_of(word)] = at;
    if (read)
        value->released = read->released;
    else
        memset(&value->released, 0, sizeof(value->released));
    join(&value->released, order & RELEASE ? &thread->view : &thread->fenced);
    raise_to(&value->released.at[index_of(word)], at);
    if (order & SEQ_CST)
        raise_to(&word->common_at, at);
    /* No compiler moves later loads before what acquires, nor earlier stores behind what releases. */
    if (read && (order & ACQUIRE) && (order & RELEASE))
        memory_issue(threads_self());
}

static void step_before(const struct word *word)
{
    if (word->kind != KIND_PAYLOAD || !one_consumer)
        threads_step();
}

uint64_t real_load(const volatile void *p, memory_order asked, struct site *site)
{
    struct word *word = find_word(p);
    unsigned int order = letters_order(site, word->kind, asked);
    uint16_t clock;
    uint16_t at;
    uint64_t value;

    step_before(word);
    clock = tick();
    at = choose_value(word, order);
    value = see(word, at, order);
    note(site, "load", word, value, word->n_values - 1 - at);
    if (word->kind == KIND_PAYLOAD)
        read_payload(word, at, clock);
    else if (word->kind == KIND_TAIL)
        self()->n_guesses = 0;
    return value;
}

void real_store(volatile void *p, uint64_t value, memory_order asked, struct site *site)
{
    struct word *word = find_word(p);
    unsigned int order = letters_order(site, word->kind, asked);

    step_before(word);
    tick();
    note(site, "store", word, value, 0);
    if (word->kind == KIND_PAYLOAD)
        check_write(word);
    put(word, value, order, NULL);
}

/* Return: the newest value, which gives way to @value. */
static uint64_t replace(struct word *word, uint64_t value, unsigned int order)
{
    uint16_t at = (uint16_t)(word->n_values - 1);
    uint64_t was = see(word, at, order);

    put(word, value, order, &word->values[at]);
    return was;
}

uint64_t real_exchange(volatile void *p, uint64_t value, memory_order asked, struct site *site)
{
    struct word *word = find_word(p);
    unsigned int order = letters_order(site, word->kind, asked);

    threads_step();
    tick();
    note(site, "swap", word, value, 0);
    return replace(word, value, order);
}

uint64_t real_fetch_or(volatile void *p, uint64_t bits, memory_order asked, struct site *site)
{
    struct word *word = find_word(p);
    unsigned int order = letters_order(site, word->kind, asked);

    threads_step();
    tick();
    note(site, "or", word, word->values[word->n_values - 1].value | bits, 0);
    return replace(word, word->values[word->n_values - 1].value | bits, order);
}

bool real_compare_exchange(volatile void *p, uint64_t *expected, uint64_t value, memory_order asked,
                           memory_order order_else, struct site *site)
{
    struct word *word = find_word(p);
    unsigned int order = letters_order(site, word->kind, asked);
    unsigned int failed = letters_order(site, word->kind, order_else);
    uint16_t newest;
    uint16_t at;

    threads_step();
    tick();
    newest = (uint16_t)(word->n_values - 1);
    at = choose_value(word, failed);
    /* Where an old one is what is expected, it swaps or sees the newest. */
    if (word->values[at].value == *expected)
        at = newest;
    if (word->values[at].value == *expected) {
        replace(word, value, order);
        note(site, "swapped", word, value, 0);
        if (word->kind == KIND_TAIL)
            confirm_guesses();
        return true;
    }
    *expected = see(word, at, failed);
    note(site, "not swapped", word, *expected, (unsigned int)(newest - at));
    if (word->kind == KIND_TAIL)
        self()->n_guesses = 0;
    return false;
}

void real_thread_fence(memory_order asked, struct site *site)
{
    unsigned int order = letters_order(site, KIND_NONE, asked);
    struct thread *thread = self();

    threads_step();
    tick();
    note(site, "fence", NULL, 0, 0);
    if (order & ACQUIRE)
        join(&thread->view, &thread->read);
    if (order & RELEASE)
        thread->fenced = thread->view;
    if (order & SEQ_CST)
        memory_fence(threads_self(), true);
}

void real_signal_fence(struct site *site)
{
    if (!letters_lack_fence(site))
        memory_issue(threads_self());
}

/* --- What threads.c and the tests ask --- */

void *memory_start(const struct ring_geometry *geometry)
{
    if (map)
        munmap(map, map_bytes);
    map_bytes = ring_map_bytes(geometry);
    slot_bytes = geometry->slot_bytes;
    one_consumer = geometry->flags & IPCRING_ONE_CONSUMER;
    each = geometry->flags & IPCRING_EACH_CONSUMER;
    if (map_bytes / 4 > sizeof(word_at) / sizeof(word_at[0]))
        machine_fault("its map is too small");
    /* What goes past the machine ends here. */
    map = mmap(NULL, map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        machine_fault("no map");
    for (unsigned int i = 0; i < n_words; i++)
        word_at[words[i].offset / 4] = 0;
    n_words = n_old_reads = n_logged = 0;
    memset(threads, 0, sizeof(threads));
    return map;
}

void memory_thread_starts(unsigned int who, unsigned int from)
{
    join(&threads[who].view, &threads[from].view);
    memory_issue(who);
}

void memory_sees_death(unsigned int who, unsigned int dead)
{
    join(&threads[who].view, &threads[dead].view);
}

void memory_time_passes(unsigned int who)
{
    for (unsigned int i = 0; i < n_words; i++)
        threads[who].view.at[i] = (uint16_t)(words[i].n_values - 1);
    note(NULL, "time passes", NULL, 0, 0);
}

uint32_t memory_newest(const void *p)
{
    const struct word *word = find_word(p);

    return (uint32_t)word->values[word->n_values - 1].value;
}

void memory_write(void *to, const uint64_t *from, unsigned int n)
{
    for (unsigned int i = 0; i < n; i++)
        atomic_store_explicit((_Atomic uint64_t *)to + i, from[i], memory_order_relaxed);
}

void memory_read(uint64_t *to, const void *from, unsigned int n)
{
    for (unsigned int i = 0; i < n; i++)
        to[i] = atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)from + i, memory_order_relaxed);
}
