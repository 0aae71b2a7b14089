/* What whoever maps a ring can make the daemon do: words are written between its calls. No crash, no call without end
 * (the fuzzer's -timeout), no message longer than a slot; and a ring beside it works on. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/ring/ring_mbox.h"
#include "input.h"

#define N_STEPS_MAX 200
#define N_TAKERS 3
#define SLOTS_SHOWN 16 /* whose words are written */

struct ring_box {
    struct mbox mbox;
    struct ring_mbox ring;
};

struct taker {
    struct mbox_op op;
    atomic_bool is_parked;
    struct mbox *from;
};

static struct mbox_domain domain;
static struct ring_waiters waiters;
static const struct ring_home home = { .dir_fd = -1, .uid = 1, .gid = 1 };
static struct ring_box *box;
static struct ring_box *neighbour;
static struct taker takers[N_TAKERS];

static void release(struct mbox *mbox)
{
    struct ring_box *gone = (struct ring_box *)((char *)mbox - offsetof(struct ring_box, mbox));

    ring_mbox_deinit(&gone->ring);
    mbox_deinit(mbox);
    free(gone);
}

static struct ring_box *new_box(const char *config)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct ring_box *made = malloc(sizeof(*made));

    mbox_init(&made->mbox, &domain, release);
    HOLDS(ring_mbox_init(&made->ring, &made->mbox, &waiters, &home) == 0);
    HOLDS(ring_mbox_configure(&made->ring, config, strlen(config), &ready) == 0);
    mbox_ready_run(&ready);
    return made;
}

static void drop_box(struct ring_box *gone)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);

    mbox_remove(&gone->mbox, true, &ready);
    mbox_ready_run(&ready);
    mbox_unref(&gone->mbox);
}

static void arrived(struct mbox *from, struct mbox_entry *entry, struct mbox_ready *ready)
{
    HOLDS(entry->msg->size_bytes <= 1 << 16);
    mbox_commit(from, entry, ready);
    mbox_entry_free(entry);
}

/* May be called in the waiters' thread. */
static void complete(struct mbox_op *op, struct mbox_ready *ready)
{
    struct taker *taker = (struct taker *)op;

    if (op->result == 0 && op->entry)
        arrived(taker->from, op->entry, ready);
    atomic_store(&taker->is_parked, false);
}

static void post(struct mbox *to, struct input *input)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    unsigned char data[64] = { 0 };
    struct msg *msg = msg_new(data, input_u8(input) % sizeof(data), 0,
                              (struct msg_sender){ .uid = 1 });

    mbox_post(to, msg, NULL, &ready);
    msg_unref(msg);
    mbox_ready_run(&ready);
}

static void take_now(struct mbox *from, size_t max_bytes)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct mbox_op op = { .nonblock = true, .max_bytes = max_bytes };
    struct mbox_entry *entry;

    if (mbox_take(from, &op, &entry, &ready) == 0)
        arrived(from, entry, &ready);
    mbox_ready_run(&ready);
}

static void take_and_wait(struct mbox *from, struct taker *taker)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct mbox_entry *entry;
    int r;

    if (atomic_load(&taker->is_parked))
        return;
    *taker = (struct taker){ .op = { .complete = complete, .max_bytes = SIZE_MAX },
                             .is_parked = true,
                             .from = from };
    r = mbox_take(from, &taker->op, &entry, &ready);
    if (r != MBOX_PARKED)
        atomic_store(&taker->is_parked, false);
    if (r == 0)
        arrived(from, entry, &ready);
    mbox_ready_run(&ready);
}

/* Where it matters. */
static size_t some_offset(struct input *input, const struct ring_memory *memory)
{
    static const size_t words[] = {
        IPCRING_AT_MAGIC,      IPCRING_AT_VERSION,   IPCRING_AT_SLOTS,    IPCRING_AT_SLOTS_OFFSET,
        IPCRING_AT_MAP_BYTES,  IPCRING_AT_HEAD,      IPCRING_AT_PRODUCER, IPCRING_AT_TAIL,
        IPCRING_AT_CONSUMER,   IPCRING_AT_WAIT_DATA, IPCRING_AT_HEAD,     IPCRING_AT_TAIL,
        IPCRING_AT_WAIT_SPACE,
    };
    size_t at;

    if (input_u8(input) & 1)
        return words[input_u8(input) % (sizeof(words) / sizeof(words[0]))];
    at = IPCRING_AT_SLOT_0 + (size_t)(input_u8(input) % SLOTS_SHOWN) * memory->geometry.slot_bytes;
    return at + 8 <= memory->n_bytes ? at : IPCRING_AT_SLOT_0;
}

static uint64_t some_value(struct input *input)
{
    switch (input_u8(input) % 6) {
    case 0:
        return input_u8(input);
    case 1:
        return ipcring_word(input_u8(input) % 4, input_u8(input), input_u8(input));
    case 2:
        return ipcring_word(input_u8(input) % 4, IPCRING_CLAIMED, (uint32_t)getpid());
    case 3:
        return ipcring_word(input_u8(input) % 4, IPCRING_CLAIMED,
                            IPCRING_ID_FOREIGN | input_u32(input));
    case 4:
        return (uint64_t)0 - input_u8(input);
    default:
        return (uint64_t)input_u32(input) << 32 | input_u32(input);
    }
}

static void scribble(struct input *input)
{
    struct ring_memory *memory = ring_mbox_memory(&box->ring);
    size_t at = some_offset(input, memory);
    uint64_t value = some_value(input);

    if (at == IPCRING_AT_PRODUCER || at == IPCRING_AT_CONSUMER || at == IPCRING_AT_WAIT_DATA ||
        at == IPCRING_AT_WAIT_SPACE)
        atomic_store((_Atomic uint32_t *)(void *)((char *)memory->map + at), (uint32_t)value);
    else
        atomic_store((_Atomic uint64_t *)(void *)((char *)memory->map + at), value);
    ring_memory_unref(memory);
}

static void configure(struct input *input)
{
    static const char *const texts[] = {
        "slots=8\n",         "slots=64\n",       "producers=one\n",
        "producers=many\n",  "consumers=one\n",  "slot_bytes=16\n",
        "slot_bytes=1024\n", "consumers=many\n", "consumers=each\n"
    };
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    const char *text = texts[input_u8(input) % (sizeof(texts) / sizeof(texts[0]))];
    char told[RING_CONFIG_MAX];

    ring_mbox_configure(&box->ring, text, strlen(text), &ready);
    mbox_ready_run(&ready);
    HOLDS(ring_mbox_get_config(&box->ring, told) == 0);
}

/* What stands in the input itself, as text. */
static void configure_freely(struct input *input)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    size_t n = input_u8(input) % 40;

    n = n < input->left ? n : input->left;
    ring_mbox_configure(&box->ring, (const char *)input->data, n, &ready);
    mbox_ready_run(&ready);
    input->data += n;
    input->left -= n;
}

static void step(struct input *input)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct ring_mbox_stat stat;

    switch (input_u8(input) % 16) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
        scribble(input);
        break;
    case 5:
    case 6:
        post(&box->mbox, input);
        break;
    case 7:
        take_now(&box->mbox, SIZE_MAX);
        break;
    case 8:
        take_now(&box->mbox, input_u8(input));
        break;
    case 9:
        take_and_wait(&box->mbox, &takers[input_u8(input) % (N_TAKERS - 1)]);
        break;
    case 10:
        take_and_wait(&box->ring.bell, &takers[N_TAKERS - 1]);
        break;
    case 11:
        mbox_poll(&box->mbox, NULL);
        HOLDS(ring_mbox_get_stat(&box->ring, &stat) == 0);
        break;
    case 12:
        ring_mbox_wake(&box->ring, &ready);
        break;
    case 13:
        mbox_settle(&box->mbox, MBOX_READABLE | MBOX_WRITABLE, &ready);
        break;
    case 14:
        configure(input);
        break;
    case 15:
        configure_freely(input);
        break;
    }
    mbox_ready_run(&ready);
}

static void neighbour_works(void)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct mbox_op op = { .nonblock = true, .max_bytes = SIZE_MAX };
    struct msg *msg = msg_new("neighbour", 9, 0, (struct msg_sender){ .uid = 1 });
    struct mbox_entry *entry;

    HOLDS(mbox_post(&neighbour->mbox, msg, NULL, &ready) == 0);
    msg_unref(msg);
    HOLDS(mbox_take(&neighbour->mbox, &op, &entry, &ready) == 0);
    HOLDS(entry->msg->size_bytes == 9);
    arrived(&neighbour->mbox, entry, &ready);
    mbox_ready_run(&ready);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = { data, size };

    mbox_domain_init(&domain, 8 << 20, 8 << 20);
    ring_waiters_init(&waiters, 0);
    box = new_box("slots=16\nslot_bytes=64\n");
    neighbour = new_box("slots=8\nslot_bytes=64\n");
    memset(takers, 0, sizeof(takers));
    for (unsigned int i = 0; i < N_STEPS_MAX && input.left > 0; i++)
        step(&input);
    neighbour_works();
    drop_box(neighbour);
    drop_box(box);
    ring_waiters_deinit(&waiters);
    for (unsigned int i = 0; i < N_TAKERS; i++)
        HOLDS(!atomic_load(&takers[i].is_parked));
    HOLDS(quota_used(&domain.quota) == 0);
    mbox_domain_deinit(&domain);
    return 0;
}
