/* The lanes are served in turn, each a turn of bounded work; a question that stays open goes to the end of its
 * lane. An interrupt moves a question to the cancelled ones, which the thread answers, because whoever interrupts
 * holds libfuse's lock of the request. */
#include "inquiry.h"

#include <errno.h>

#include "core/base/hash.h"
#include "core/mailbox/quota.h"

/* What is answered at once, by the thread that asks: a tenth of a millisecond. */
#define STEPS_AT_ONCE 32

/* One turn: a fraction of a millisecond. */
#define STEPS_PER_TURN 64

void inquiries_init(struct inquiries *inquiries, struct quota *quota)
{
    *inquiries = (struct inquiries){ .quota = quota };
    pthread_mutex_init(&inquiries->lock, NULL);
    pthread_cond_init(&inquiries->added, NULL);
    TAILQ_INIT(&inquiries->cancelled);
    for (unsigned int i = 0; i < INQUIRY_N_LANES; i++)
        TAILQ_INIT(&inquiries->lanes[i]);
}

void inquiries_deinit(struct inquiries *inquiries)
{
    pthread_cond_destroy(&inquiries->added);
    pthread_mutex_destroy(&inquiries->lock);
}

static struct inquiry_lane *lane_of(const struct inquiry *inquiry)
{
    return &inquiry->inquiries
                ->lanes[hash_of(&inquiry->uid, sizeof(inquiry->uid)) % INQUIRY_N_LANES];
}

/* Under lock. */
static void inquiry_add(struct inquiry *inquiry)
{
    TAILQ_INSERT_TAIL(lane_of(inquiry), inquiry, link);
    inquiry->inquiries->n_waiting++;
}

/* Under lock. */
static void inquiry_take_out(struct inquiry *inquiry)
{
    TAILQ_REMOVE(lane_of(inquiry), inquiry, link);
    inquiry->inquiries->n_waiting--;
}

/* Under lock. Return: the question whose turn it is; NULL: there is none. */
static struct inquiry *next(struct inquiries *inquiries)
{
    struct inquiry *inquiry = TAILQ_FIRST(&inquiries->cancelled);

    if (inquiry) {
        TAILQ_REMOVE(&inquiries->cancelled, inquiry, link);
        return inquiry;
    }
    for (unsigned int i = 0; i < INQUIRY_N_LANES && inquiries->n_waiting > 0; i++) {
        inquiries->turn = (inquiries->turn + 1) % INQUIRY_N_LANES;
        inquiry = TAILQ_FIRST(&inquiries->lanes[inquiries->turn]);
        if (inquiry) {
            inquiry_take_out(inquiry);
            return inquiry;
        }
    }
    return NULL;
}

static void inquiry_on_interrupt(fuse_req_t req, void *data)
{
    struct inquiry *inquiry = data;
    struct inquiries *inquiries = inquiry->inquiries;

    (void)req;
    pthread_mutex_lock(&inquiries->lock);
    if (inquiry->is_queued && !inquiry->is_cancelled && inquiries->current != inquiry) {
        inquiry_take_out(inquiry);
        TAILQ_INSERT_TAIL(&inquiries->cancelled, inquiry, link);
        pthread_cond_signal(&inquiries->added);
    }
    inquiry->is_cancelled = true;
    pthread_mutex_unlock(&inquiries->lock);
}

static void inquiry_finish(struct inquiry *inquiry, int answer)
{
    struct inquiries *inquiries = inquiry->inquiries;

    /* Waits for a running inquiry_on_interrupt. */
    fuse_req_interrupt_func(inquiry->req, NULL, NULL);
    question_end(&inquiry->question);
    quota_release_fds(inquiries->quota, inquiry->uid, 1);
    inquiry->answered(inquiry, answer);
}

/* Gives @inquiry, which is current, its turn. Under lock, which is released meanwhile. */
static void work_on(struct inquiries *inquiries, struct inquiry *inquiry)
{
    bool is_over = inquiries->stopping || inquiry->is_cancelled;
    int answer = inquiry->is_cancelled ? -EINTR : -ENOTCONN;

    pthread_mutex_unlock(&inquiries->lock);
    if (!is_over)
        answer = question_step(&inquiry->question, STEPS_PER_TURN);
    pthread_mutex_lock(&inquiries->lock);
    if (answer == QUESTION_OPEN && inquiry->is_cancelled)
        answer = -EINTR;
    if (answer == QUESTION_OPEN) {
        inquiries->current = NULL;
        inquiry_add(inquiry);
        return;
    }
    /* It stays current: an interrupt leaves it alone. */
    pthread_mutex_unlock(&inquiries->lock);
    inquiry_finish(inquiry, answer);
    pthread_mutex_lock(&inquiries->lock);
    inquiries->current = NULL;
}

static void *inquiry_run(void *arg)
{
    struct inquiries *inquiries = arg;

    pthread_mutex_lock(&inquiries->lock);
    for (;;) {
        inquiries->current = next(inquiries);
        if (inquiries->current)
            work_on(inquiries, inquiries->current);
        else if (inquiries->stopping)
            break;
        else
            pthread_cond_wait(&inquiries->added, &inquiries->lock);
    }
    pthread_mutex_unlock(&inquiries->lock);
    return NULL;
}

int inquiries_start(struct inquiries *inquiries)
{
    int r = pthread_create(&inquiries->thread, NULL, inquiry_run, inquiries);

    inquiries->started = r == 0;
    return -r;
}

void inquiries_stop(struct inquiries *inquiries)
{
    if (!inquiries->started)
        return;
    pthread_mutex_lock(&inquiries->lock);
    inquiries->stopping = true;
    pthread_cond_signal(&inquiries->added);
    pthread_mutex_unlock(&inquiries->lock);
    pthread_join(inquiries->thread, NULL);
    inquiries->started = false;
}

int inquiry_try(struct question *question)
{
    int answer = question_step(question, STEPS_AT_ONCE);

    if (answer != QUESTION_OPEN)
        question_end(question);
    return answer;
}

int inquiry_ask(struct inquiries *inquiries, struct inquiry *inquiry, struct question *question)
{
    uid_t uid = fuse_req_ctx(inquiry->req)->uid;
    int r = quota_charge_fds(inquiries->quota, uid, 1);

    if (r < 0) {
        question_end(question);
        return r;
    }
    inquiry->inquiries = inquiries;
    inquiry->question = *question;
    inquiry->uid = uid;
    inquiry->is_queued = false;
    inquiry->is_cancelled = false;
    /* An interrupt that came before is told at once. */
    fuse_req_interrupt_func(inquiry->req, inquiry_on_interrupt, inquiry);
    pthread_mutex_lock(&inquiries->lock);
    inquiry->is_queued = true;
    if (inquiry->is_cancelled)
        TAILQ_INSERT_TAIL(&inquiries->cancelled, inquiry, link);
    else
        inquiry_add(inquiry);
    pthread_cond_signal(&inquiries->added);
    pthread_mutex_unlock(&inquiries->lock);
    return INQUIRY_PARKED;
}
