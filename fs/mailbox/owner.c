/* A claim is a file that is open. When its last handle is gone, which RELEASE tells however that
 * came about, the mailbox goes too.
 *
 * The owner is known by its pid. A child that inherited the claim can outlive the owner; the pid
 * may then be somebody else's, which the pidfd taken at the claim tells: then nobody may receive. */
#include "owner.h"

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "box.h"
#include "fs/kernel/caller.h"
#include "fs/kernel/caller_descent.h"
#include "core/base/fd.h"
#include "fs/kernel/kernel.h"
#include "fs/kernel/parked.h"
#include "fs/kernel/text.h"

/* A pidfd can be read from once its process has ended. */
static bool owner_is_alive(int pidfd)
{
    struct pollfd fd = { .fd = pidfd, .events = POLLIN };

    return poll(&fd, 1, 0) == 0;
}

static bool is_owner_alive(struct box *box)
{
    bool alive;

    pthread_mutex_lock(&box->lock);
    alive = box->owner_pidfd >= 0 && owner_is_alive(box->owner_pidfd);
    pthread_mutex_unlock(&box->lock);
    return alive;
}

int owner_admit(struct mbox *mbox, const struct caller *caller)
{
    pid_t owner = mbox_owner(mbox);
    int descends;

    if (owner == 0)
        return 0;
    descends = is_owner_alive(box_of(mbox)) ? caller_descends(caller, owner) : 0;
    if (descends < 0)
        return descends;
    /* The claim may have ended meanwhile, and the mailbox with it: that is for the engine to tell. */
    return descends || mbox_owner(mbox) == 0 ? 0 : -EBUSY;
}

int owner_admit_reader(struct file *file, const struct caller *caller)
{
    return owner_admit(file->mbox, caller);
}

static void claim_release(struct file *file)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct box *box = box_of(file->mbox);

    /* The mailbox first: who finds no pidfd finds no owner either. */
    box->kind->remove(box, &ready);
    pthread_mutex_lock(&box->lock);
    close(box->owner_pidfd);
    box->owner_pidfd = -1;
    pthread_mutex_unlock(&box->lock);
    quota_release_fds(file->kernel->quota, file->opener.uid, 1);
    mbox_ready_run(&ready);
}

/* There is nothing to say to it; what is written is refused rather than lost. */
static void claim_write(struct file *file, fuse_req_t req, const char *data, size_t size,
                        off_t offset, int flags)
{
    (void)file;
    (void)data;
    (void)size;
    (void)offset;
    (void)flags;
    fuse_reply_err(req, EINVAL);
}

static int make_text(struct file *file, char **ret_text)
{
    pid_t pid = mbox_owner(file->mbox);
    char text[16] = "";

    if (pid)
        snprintf(text, sizeof(text), "%d\n", (int)pid);
    *ret_text = strdup(text);
    return *ret_text ? 0 : -ENOMEM;
}

static const struct text_ops text_ops = TEXT_OPS(make_text, NULL, NULL);
static const struct text_ops claim_ops = TEXT_OPS(make_text, claim_write, claim_release);

/* Of those who wait when a mailbox is claimed so many are judged; more go, and so does who is too many
 * generations away from the owner. */
#define N_JUDGED_MAX 256

/* Those who wait and may go on, sorted. */
struct admitted {
    pid_t who[N_JUDGED_MAX];
    size_t n;
};

static int compare_pids(const void *a, const void *b)
{
    const pid_t *x = a;
    const pid_t *y = b;

    return (*x > *y) - (*x < *y);
}

/* Finds out who of those that wait in @mbox descends from @pid: not under the mailbox's lock. */
static void find_admitted(struct mbox *mbox, pid_t pid, struct admitted *ret)
{
    pid_t who[N_JUDGED_MAX];
    size_t n = mbox_takers(mbox, who, N_JUDGED_MAX);

    ret->n = 0;
    for (size_t i = 0; i < n; i++) {
        if (caller_descends_nearly(who[i], pid) == 1)
            ret->who[ret->n++] = who[i];
    }
    qsort(ret->who, ret->n, sizeof(*ret->who), compare_pids);
}

/* Under the mailbox's lock. */
static bool may_receive(const struct mbox_op *op, void *arg)
{
    const struct admitted *admitted = arg;

    return bsearch(&op->who, admitted->who, admitted->n, sizeof(op->who), compare_pids);
}

/* The pidfd is there before others see that there is an owner. Return: as mbox_claim. */
static int owner_try_claim(struct box *box, pid_t pid, int pidfd, struct mbox_ready *ready)
{
    struct admitted admitted;
    int r;

    pthread_mutex_lock(&box->lock);
    if (box->owner_pidfd >= 0) {
        pthread_mutex_unlock(&box->lock);
        return -EBUSY;
    }
    box->owner_pidfd = pidfd;
    pthread_mutex_unlock(&box->lock);
    find_admitted(&box->mbox, pid, &admitted);
    r = mbox_claim(&box->mbox, pid, may_receive, &admitted, ready);
    if (r < 0) {
        pthread_mutex_lock(&box->lock);
        box->owner_pidfd = -1;
        pthread_mutex_unlock(&box->lock);
    }
    return r;
}

/* Return: 0 with a pidfd, which counts for @uid; a negative errno. */
static int owner_open_pidfd(struct quota *quota, pid_t pid, uid_t uid, int *ret_pidfd)
{
    int r = pid > 0 ? quota_charge_fds(quota, uid, 1) : -ESRCH;

    if (r < 0)
        return r;
    *ret_pidfd = fd_keep((int)syscall(SYS_pidfd_open, pid, 0));
    if (*ret_pidfd < 0)
        quota_release_fds(quota, uid, 1);
    return *ret_pidfd < 0 ? *ret_pidfd : 0;
}

int owner_claim(struct box *box, const struct caller *caller, struct file **ret_file)
{
    struct mbox_ready ready = TAILQ_HEAD_INITIALIZER(ready);
    struct kernel *kernel = box->boxes->kernel;
    pid_t pid = caller_process(caller->tid, 0);
    struct file *file;
    int pidfd;
    int r = owner_open_pidfd(kernel->quota, pid, caller->uid, &pidfd);

    if (r < 0)
        return r;
    r = text_open(kernel, &claim_ops, &box->mbox, &file);
    if (r == 0) {
        r = owner_try_claim(box, pid, pidfd, &ready);
        if (r < 0)
            file_discard(file);
    }
    mbox_ready_run(&ready);
    if (r < 0) {
        close(pidfd);
        quota_release_fds(kernel->quota, caller->uid, 1);
    } else {
        *ret_file = file;
    }
    return r;
}

int owner_open(struct kernel *kernel, struct mbox *mbox, struct file **ret_file)
{
    return text_open(kernel, &text_ops, mbox, ret_file);
}
