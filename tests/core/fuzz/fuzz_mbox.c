/* Calls of the engine in any order, on three mailboxes: each message that was accepted is in one place, is received at most
 * once, and the quota is what all that is there costs. */
#include <errno.h>
#include <string.h>

#include "core/mailbox/mbox_cursor.h"
#include "input.h"

#define N_MBOXES 3
#define N_OPS 12
#define N_FLYING 6
#define N_STEPS_MAX 300
#define N_SERIALS (N_STEPS_MAX + 1)
#define UID_BYTES 3000
#define ALL_BYTES 5000

enum fate {
    UNUSED,
    POSTING,  /* its sender waits */
    ACCEPTED, /* it is in a mailbox, or was dropped from it */
    FLYING,
    GONE, /* received, taken out, refused or lost with its mailbox */
};

struct box {
    struct mbox mbox;
    unsigned int n_places; /* that were reserved and are not used */
    bool is_removed;
};

struct waiting {
    struct mbox_op op;
    struct box *box;
    uint32_t serial; /* of a message that is being sent; 0: none */
    bool is_place;
    uid_t uid;
    bool is_parked;
};

struct flying {
    struct mbox_entry *entry;
    struct box *box;
    struct waiting *sender; /* who waits for it; may end meanwhile */
};

static const struct msg_sender place_holder = { .pid = 1, .uid = 1 };
static struct mbox_domain domain;
static struct box boxes[N_MBOXES];
static struct waiting waiting[N_OPS];
static struct flying flying[N_FLYING];
static enum fate fates[N_SERIALS];
static uint64_t costs[N_SERIALS];
static uint32_t last_serial;
static uint64_t n_lost; /* with mailboxes */
static struct mbox_ready ready;

static uint32_t serial_of(const struct msg *msg)
{
    uint32_t serial;

    HOLDS(msg->size_bytes >= sizeof(serial));
    memcpy(&serial, msg->data, sizeof(serial));
    HOLDS(serial > 0 && serial <= last_serial);
    return serial;
}

static struct flying *free_flying(void)
{
    for (unsigned int i = 0; i < N_FLYING; i++) {
        if (!flying[i].entry)
            return &flying[i];
    }
    return NULL;
}

static struct waiting *free_waiting(void)
{
    for (unsigned int i = 0; i < N_OPS; i++) {
        if (!waiting[i].is_parked)
            return &waiting[i];
    }
    return NULL;
}

static void got(struct box *box, struct mbox_entry *entry)
{
    struct flying *place = free_flying();
    uint32_t serial = serial_of(entry->msg);

    HOLDS(fates[serial] == ACCEPTED || fates[serial] == POSTING);
    if (!place) {
        fates[serial] = GONE;
        mbox_commit(&box->mbox, entry, &ready);
        mbox_entry_free(entry);
        return;
    }
    if (fates[serial] == ACCEPTED)
        fates[serial] = FLYING;
    *place = (struct flying){ .entry = entry, .box = box };
}

static void sent(uint32_t serial, int result)
{
    if (result == 0 && fates[serial] == POSTING)
        fates[serial] = ACCEPTED;
    else if (result < 0)
        fates[serial] = GONE;
}

static void complete(struct mbox_op *op, struct mbox_ready *more)
{
    struct waiting *who = (struct waiting *)op;

    (void)more;
    HOLDS(who->is_parked);
    who->is_parked = false;
    if (who->is_place)
        who->box->n_places += op->result == 0;
    else if (who->serial)
        sent(who->serial, op->result);
    else if (op->result == 0)
        got(who->box, op->entry);
}

static struct waiting *prepare(struct box *box, uint8_t flags)
{
    struct waiting *who = free_waiting();

    if (who)
        *who = (struct waiting){ .op = { .complete = complete,
                                         .nonblock = flags & 1,
                                         .max_bytes = flags & 2 ? 100 : SIZE_MAX },
                                 .box = box };
    return who;
}

static struct msg *new_msg(struct input *input)
{
    static const size_t sizes[] = { 4, 4, 10, 50, 100, 101, 128, 129, 500, 1000 };
    size_t n = sizes[input_u8(input) % (sizeof(sizes) / sizeof(sizes[0]))];
    struct msg_sender sender = { .pid = 1 + input_u8(input) % 2, .uid = 1 + input_u8(input) % 2 };
    struct msg *msg = msg_alloc(n, input_u8(input) % 4, sender);
    uint32_t serial = ++last_serial;

    memset(msg->data, 0, n);
    memcpy(msg->data, &serial, sizeof(serial));
    costs[serial] = msg_charge_bytes(msg);
    return msg;
}

static void reserve(struct box *box, struct input *input)
{
    struct waiting *who = prepare(box, input_u8(input));
    int r;

    if (!who || box->n_places > 3)
        return;
    who->is_place = true;
    who->is_parked = true;
    r = mbox_reserve(&box->mbox, place_holder, &who->op, &ready);
    who->is_parked = r == MBOX_PARKED;
    box->n_places += r == 0;
}

static void unreserve(struct box *box)
{
    if (box->n_places == 0)
        return;
    box->n_places--;
    mbox_unreserve(&box->mbox, place_holder, &ready);
}

static void post(struct box *box, struct input *input)
{
    struct msg *msg = new_msg(input);
    struct waiting *who = prepare(box, input_u8(input));
    uint32_t serial = last_serial;
    int r;

    fates[serial] = POSTING;
    if (who) {
        who->serial = serial;
        who->is_parked = true;
    }
    r = mbox_post(&box->mbox, msg, who ? &who->op : NULL, &ready);
    if (who && r != MBOX_PARKED)
        who->is_parked = false;
    if (r != MBOX_PARKED)
        sent(serial, r);
    msg_unref(msg);
}

static void take(struct box *box, struct input *input)
{
    struct waiting *who = prepare(box, input_u8(input));
    struct mbox_entry *entry;
    int r;

    if (!who)
        return;
    r = mbox_take(&box->mbox, &who->op, &entry, &ready);
    who->is_parked = r == MBOX_PARKED;
    if (r == 0)
        got(box, entry);
}

static void land(struct input *input, bool delivered)
{
    struct flying *one = &flying[input_u8(input) % N_FLYING];
    struct mbox_entry *entry = one->entry;
    struct box *box = one->box;
    uint32_t serial;

    if (!entry)
        return;
    serial = serial_of(entry->msg);
    *one = (struct flying){ 0 };
    if (input_u8(input) & 1)
        mbox_entry_discharge(entry);
    if (delivered) {
        /* Also the one whose sender waited until now. */
        fates[serial] = GONE;
        mbox_commit(&box->mbox, entry, &ready);
        mbox_entry_free(entry);
        return;
    }
    if (fates[serial] == FLYING)
        fates[serial] = box->is_removed ? GONE : ACCEPTED;
    mbox_abort(&box->mbox, entry, &ready);
}

static void cancel(struct input *input)
{
    struct waiting *who = &waiting[input_u8(input) % N_OPS];

    if (who->is_parked)
        mbox_cancel(&who->box->mbox, &who->op, &ready);
}

static void configure(struct box *box, struct input *input)
{
    static const char *const texts[] = {
        "messages=0\n",      "messages=1\n",       "messages=3\n",         "messages=max\n",
        "bytes=100\n",       "bytes=1000\n",       "bytes=1M\n",           "overflow=block\n",
        "overflow=reject\n", "message_bytes=50\n", "message_bytes=1000\n", "overflow=drop-oldest\n",
    };
    const char *text = texts[input_u8(input) % (sizeof(texts) / sizeof(texts[0]))];

    mbox_configure(&box->mbox, text, strlen(text), &ready);
}

static uint64_t n_queued(struct box *box)
{
    struct mbox_stat stat;

    return mbox_get_stat(&box->mbox, &stat) == 0 ? stat.n_messages : 0;
}

/* Return: an id of @box's queue; 0: it is empty. */
static uint64_t some_id(struct box *box, uint8_t which)
{
    size_t n = n_queued(box);
    struct mbox_cursor cursor = { 0 };
    struct mbox_place place;

    mbox_cursor_rewind(&box->mbox, &cursor);
    mbox_cursor_skip(&box->mbox, &cursor, n > 0 ? which % n : 0);
    n = mbox_cursor_look(&box->mbox, &cursor, &place, 1);
    mbox_cursor_end(&box->mbox, &cursor);
    return n > 0 ? place.id : 0;
}

static void pick(struct box *box, struct input *input)
{
    uint64_t id = some_id(box, input_u8(input));
    struct msg *msg = mbox_find(&box->mbox, id);

    if (!msg)
        return;
    HOLDS(fates[serial_of(msg)] == ACCEPTED);
    HOLDS(mbox_pick(&box->mbox, id, NULL, &ready) == 0);
    HOLDS(mbox_pick(&box->mbox, id, NULL, &ready) < 0);
    fates[serial_of(msg)] = GONE;
    msg_unref(msg);
}

static void move(struct box *box, struct input *input)
{
    uint64_t id = some_id(box, input_u8(input));

    if (id)
        mbox_move(&box->mbox, &boxes[input_u8(input) % N_MBOXES].mbox, id, NULL, &ready);
}

static uint64_t n_dropped(struct box *box)
{
    uint64_t n;

    pthread_mutex_lock(&box->mbox.lock);
    n = box->mbox.stat.n_dropped;
    pthread_mutex_unlock(&box->mbox.lock);
    return n;
}

static void remove_it(struct box *box, bool force)
{
    uint64_t n = n_queued(box);
    int r = mbox_remove(&box->mbox, force, &ready);

    if (r < 0)
        return;
    HOLDS(force || n == 0);
    n_lost += n;
    box->is_removed = true;
}

static bool may_receive(const struct mbox_op *op, void *arg)
{
    (void)op;
    return *(const pid_t *)arg == 1;
}

static void step(struct input *input)
{
    struct box *box = &boxes[input_u8(input) % N_MBOXES];
    pid_t owner;

    switch (input_u8(input) % 16) {
    case 0:
    case 1:
    case 2:
    case 3:
        post(box, input);
        break;
    case 4:
    case 5:
    case 6:
        take(box, input);
        break;
    case 7:
    case 8:
        land(input, true);
        break;
    case 9:
        land(input, false);
        break;
    case 10:
        cancel(input);
        break;
    case 11:
        configure(box, input);
        break;
    case 12:
        pick(box, input);
        break;
    case 13:
        move(box, input);
        break;
    case 14:
        mbox_poll(&box->mbox, NULL);
        break;
    case 15:
        switch (input_u8(input) % 16) {
        case 0:
            remove_it(box, true);
            break;
        case 1:
            remove_it(box, false);
            break;
        case 2:
            mbox_close(&box->mbox, &ready);
            break;
        case 3:
            owner = 1 + input_u8(input) % 2;
            mbox_claim(&box->mbox, owner, may_receive, &owner, &ready);
            break;
        case 4:
        case 5:
        case 6:
            reserve(box, input);
            break;
        case 7:
        case 8:
            unreserve(box);
            break;
        default:
            break;
        }
        break;
    }
    mbox_ready_run(&ready);
}

/* --- What must hold between steps --- */

/* Return: what they cost who wait, or are on their way. */
static uint64_t cost_of_others(void)
{
    bool flies[N_SERIALS] = { false };
    uint64_t cost = 0;

    for (unsigned int i = 0; i < N_FLYING; i++) {
        if (!flying[i].entry)
            continue;
        flies[serial_of(flying[i].entry->msg)] = true;
        cost += msg_charge_bytes(flying[i].entry->msg);
    }
    for (unsigned int i = 0; i < N_OPS; i++) {
        const struct waiting *who = &waiting[i];

        if (who->is_parked && who->is_place)
            cost += MSG_MIN_CHARGE_BYTES;
        else if (who->is_parked && who->serial && !flies[who->serial])
            cost += costs[who->serial];
    }
    for (unsigned int i = 0; i < N_MBOXES; i++)
        cost += boxes[i].n_places * MSG_MIN_CHARGE_BYTES;
    return cost;
}

/* Return: what the queue's messages cost; each is one that was accepted, and is nowhere else. */
static uint64_t check_queue(struct box *box, bool seen[N_SERIALS])
{
    struct mbox_cursor cursor = { 0 };
    struct mbox_place place = { 0 };
    uint64_t cost = 0;
    size_t n = 0;

    mbox_cursor_rewind(&box->mbox, &cursor);
    for (; mbox_cursor_look(&box->mbox, &cursor, &place, 1) == 1; n++) {
        struct msg *msg = mbox_find(&box->mbox, place.id);
        uint32_t serial;

        HOLDS(msg);
        serial = serial_of(msg);
        HOLDS(fates[serial] == ACCEPTED && !seen[serial]);
        seen[serial] = true;
        cost += msg_charge_bytes(msg);
        msg_unref(msg);
        mbox_cursor_pass(&box->mbox, &cursor, place.key);
    }
    mbox_cursor_end(&box->mbox, &cursor);
    HOLDS(n == n_queued(box));
    return cost;
}

static void check(void)
{
    bool seen[N_SERIALS] = { false };
    uint64_t n_missing = 0;
    uint64_t n_drops = 0;
    uint64_t cost = cost_of_others();

    for (unsigned int i = 0; i < N_MBOXES; i++) {
        cost += check_queue(&boxes[i], seen);
        n_drops += n_dropped(&boxes[i]);
    }
    for (uint32_t serial = 1; serial <= last_serial; serial++)
        n_missing += fates[serial] == ACCEPTED && !seen[serial];
    /* Only what was dropped, or went with its mailbox, is not there. */
    HOLDS(n_missing <= n_drops + n_lost);
    HOLDS(quota_used(&domain.quota) == cost);
}

static void release(struct mbox *mbox)
{
    mbox_deinit(mbox);
}

static void begin(void)
{
    TAILQ_INIT(&ready);
    mbox_domain_init(&domain, ALL_BYTES, UID_BYTES);
    memset(boxes, 0, sizeof(boxes));
    memset(waiting, 0, sizeof(waiting));
    memset(flying, 0, sizeof(flying));
    memset(fates, 0, sizeof(fates));
    last_serial = 0;
    n_lost = 0;
    for (unsigned int i = 0; i < N_MBOXES; i++)
        mbox_init(&boxes[i].mbox, &domain, release);
}

static void end(void)
{
    for (unsigned int i = 0; i < N_MBOXES; i++) {
        mbox_remove(&boxes[i].mbox, true, &ready);
        boxes[i].is_removed = true;
        mbox_ready_run(&ready);
    }
    for (unsigned int i = 0; i < N_FLYING; i++) {
        if (flying[i].entry)
            mbox_abort(&flying[i].box->mbox, flying[i].entry, &ready);
        mbox_ready_run(&ready);
    }
    for (unsigned int i = 0; i < N_MBOXES; i++) {
        while (boxes[i].n_places > 0)
            unreserve(&boxes[i]);
    }
    for (unsigned int i = 0; i < N_OPS; i++)
        HOLDS(!waiting[i].is_parked);
    HOLDS(quota_used(&domain.quota) == 0);
    for (unsigned int i = 0; i < N_MBOXES; i++)
        mbox_unref(&boxes[i].mbox);
    mbox_domain_deinit(&domain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = { data, size };

    begin();
    for (unsigned int i = 0; i < N_STEPS_MAX && input.left > 0; i++) {
        step(&input);
        check();
    }
    end();
    return 0;
}
