/* A notice is the messages themselves, one behind the other, as they are written to the kernel. */
#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

#include "core/base/hash.h"
#include "core/mailbox/quota.h"

/* FUSE_NOTIFY_PRUNE and struct fuse_notify_prune_out of <linux/fuse.h>, version 7.45. */
#define NOTIFY_PRUNE 9

struct prune_out {
    uint32_t n;
    uint32_t padding;
    uint64_t spare;
};

/* A thread stays for so long after its last notice: they often come in numbers. */
#define LINGER_SECONDS 1

/* So long the end waits for those that are being given. */
#define STOP_SECONDS 1

struct notice {
    struct notify *notify;
    uid_t uid;
    bool is_lost; /* memory was short: it is not given */
    uint64_t n_charged;
    STAILQ_ENTRY(notice) link;
    size_t n_bytes;
    size_t n_allocated;
    char *bytes;
};

/* The notices of one user, and the thread that gives them. */
struct notify_lane {
    struct notify *notify;
    uid_t uid;
    /* Under the lock: */
    STAILQ_HEAD(, notice) notices;
    pthread_cond_t added;
    UT_hash_handle hh;
};

void notify_init(struct notify *notify, struct quota *quota)
{
    *notify = (struct notify){ .quota = quota, .fd = -1 };
    pthread_mutex_init(&notify->lock, NULL);
    pthread_cond_init(&notify->lane_ended, NULL);
}

void notify_deinit(struct notify *notify)
{
    pthread_cond_destroy(&notify->lane_ended);
    pthread_mutex_destroy(&notify->lock);
}

int notify_start(struct notify *notify, int session_fd)
{
    int fd = fcntl(session_fd, F_DUPFD_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    pthread_mutex_lock(&notify->lock);
    notify->fd = fd;
    notify->is_heard = true;
    pthread_mutex_unlock(&notify->lock);
    return 0;
}

/* --- Making one --- */

struct notice *notice_new(struct notify *notify, uid_t uid)
{
    struct notice *notice;
    bool is_heard;

    pthread_mutex_lock(&notify->lock);
    is_heard = notify->is_heard;
    pthread_mutex_unlock(&notify->lock);
    notice = is_heard ? calloc(1, sizeof(*notice)) : NULL;
    if (notice) {
        notice->notify = notify;
        notice->uid = uid;
    }
    return notice;
}

static void notice_free(struct notice *notice)
{
    quota_release(notice->notify->quota, notice->uid, notice->n_charged);
    free(notice->bytes);
    free(notice);
}

/* Return: where @n_bytes more of @notice are to be written, zeroed; NULL: it is lost. */
static char *notify_extend(struct notice *notice, size_t n_bytes)
{
    size_t n = notice->n_bytes + n_bytes;

    if (n > notice->n_allocated) {
        size_t n_allocated = n < 1024 ? 1024 : 2 * n;
        char *bytes = realloc(notice->bytes, n_allocated);

        if (!bytes) {
            notice->is_lost = true;
            return NULL;
        }
        notice->bytes = bytes;
        notice->n_allocated = n_allocated;
    }
    memset(notice->bytes + notice->n_bytes, 0, n_bytes);
    notice->n_bytes = n;
    return notice->bytes + n - n_bytes;
}

/* Adds a message of @head_bytes bytes at @head, and @tail_bytes at @tail. */
static void add_message(struct notice *notice, int code, const void *head, size_t head_bytes,
                        const void *tail, size_t tail_bytes)
{
    struct fuse_out_header header = {
        .len = (uint32_t)(sizeof(header) + head_bytes + tail_bytes),
        .error = code,
    };
    char *to = !notice || notice->is_lost ? NULL : notify_extend(notice, header.len);

    if (!to)
        return;
    memcpy(to, &header, sizeof(header));
    memcpy(to + sizeof(header), head, head_bytes);
    memcpy(to + sizeof(header) + head_bytes, tail, tail_bytes);
}

void notice_add_expiry(struct notice *notice, uint64_t dir, const char *name)
{
    struct fuse_notify_inval_entry_out out = {
        .parent = dir,
        .namelen = (uint32_t)strlen(name),
    };

    add_message(notice, FUSE_NOTIFY_INVAL_ENTRY, &out, sizeof(out), name, strlen(name) + 1);
}

void notice_add_deletion(struct notice *notice, uint64_t parent, uint64_t child, const char *name)
{
    struct fuse_notify_delete_out out = {
        .parent = parent,
        .child = child,
        .namelen = (uint32_t)strlen(name),
    };

    add_message(notice, FUSE_NOTIFY_DELETE, &out, sizeof(out), name, strlen(name) + 1);
}

void notice_add_prune(struct notice *notice, const uint64_t *ids, size_t n)
{
    struct prune_out out = { .n = (uint32_t)n };

    add_message(notice, NOTIFY_PRUNE, &out, sizeof(out), ids, n * sizeof(*ids));
}

/* --- Giving them --- */

/* Return: 0; a negative errno. */
static int tell(int fd, const void *message, size_t n_bytes)
{
    return write(fd, message, n_bytes) < 0 ? -errno : 0;
}

/* The kernel knows something in the directory that @deletion is about. */
static void tell_expiry_instead(int fd, const char *deletion)
{
    struct {
        struct fuse_out_header header;
        struct fuse_notify_inval_entry_out out;
        char name[NAME_MAX + 1];
    } message = { .header.error = FUSE_NOTIFY_INVAL_ENTRY };
    struct fuse_notify_delete_out out;
    size_t n_bytes;

    memcpy(&out, deletion + sizeof(message.header), sizeof(out));
    message.out.parent = out.parent;
    message.out.namelen = out.namelen;
    memcpy(message.name, deletion + sizeof(message.header) + sizeof(out), out.namelen + 1);
    n_bytes = offsetof(__typeof__(message), name) + out.namelen + 1;
    message.header.len = (uint32_t)n_bytes;
    tell(fd, &message, n_bytes);
}

/* May wait for as long as somebody likes. What the kernel refuses stays as it was. */
static void tell_all(int fd, const struct notice *notice)
{
    struct fuse_out_header header;

    for (size_t at = 0; at < notice->n_bytes; at += header.len) {
        const char *message = notice->bytes + at;

        memcpy(&header, message, sizeof(header));
        if (tell(fd, message, header.len) == -ENOTEMPTY && header.error == FUSE_NOTIFY_DELETE)
            tell_expiry_instead(fd, message);
    }
}

static struct timespec in_seconds(time_t seconds)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_sec += seconds;
    return ts;
}

/* Under lock, which is released meanwhile. Return: the next notice; NULL: there was none for a while, or none
 * is to be given any more. */
static struct notice *wait_for_notice(struct notify_lane *lane)
{
    struct timespec end = in_seconds(LINGER_SECONDS);
    struct notify *notify = lane->notify;
    struct notice *notice;
    int r = 0;

    while (STAILQ_EMPTY(&lane->notices) && notify->is_heard && r == 0)
        r = pthread_cond_timedwait(&lane->added, &notify->lock, &end);
    notice = STAILQ_FIRST(&lane->notices);
    if (notice)
        STAILQ_REMOVE_HEAD(&lane->notices, link);
    return notice;
}

/* Under lock. The descriptor goes once the last that may use it has ended. */
static void close_unused(struct notify *notify)
{
    if (notify->is_heard || notify->n_telling > 0 || notify->fd < 0)
        return;
    close(notify->fd);
    notify->fd = -1;
}

/* Under lock, which is released meanwhile. */
static void notify_give(struct notify *notify, struct notice *notice)
{
    int fd = notify->fd;

    notify->n_telling++;
    pthread_mutex_unlock(&notify->lock);
    tell_all(fd, notice);
    notice_free(notice);
    pthread_mutex_lock(&notify->lock);
    notify->n_telling--;
    close_unused(notify);
}

static void *notify_run(void *arg)
{
    struct notify_lane *lane = arg;
    struct notify *notify = lane->notify;
    struct notice *notice;

    pthread_mutex_lock(&notify->lock);
    while ((notice = wait_for_notice(lane)))
        notify_give(notify, notice);
    HASH_DEL(notify->lanes, lane);
    pthread_cond_broadcast(&notify->lane_ended);
    pthread_mutex_unlock(&notify->lock);
    pthread_cond_destroy(&lane->added);
    free(lane);
    return NULL;
}

/* Under lock. Return: a lane whose thread runs; NULL when memory is short. */
static struct notify_lane *lane_new(struct notify *notify, uid_t uid)
{
    struct notify_lane *lane = calloc(1, sizeof(*lane));
    pthread_t thread;

    if (!lane)
        return NULL;
    lane->notify = notify;
    lane->uid = uid;
    STAILQ_INIT(&lane->notices);
    HASH_ADD(hh, notify->lanes, uid, sizeof(lane->uid), lane);
    if (!hash_added(lane, hh)) {
        free(lane);
        return NULL;
    }
    pthread_cond_init(&lane->added, NULL);
    if (pthread_create(&thread, NULL, notify_run, lane) != 0) {
        HASH_DEL(notify->lanes, lane);
        pthread_cond_destroy(&lane->added);
        free(lane);
        return NULL;
    }
    pthread_detach(thread);
    return lane;
}

/* Under lock. Return: whether @notice will be given. */
static bool notify_enqueue(struct notify *notify, struct notice *notice)
{
    struct notify_lane *lane;

    if (!notify->is_heard)
        return false;
    HASH_FIND(hh, notify->lanes, &notice->uid, sizeof(notice->uid), lane);
    if (!lane)
        lane = lane_new(notify, notice->uid);
    if (!lane)
        return false;
    STAILQ_INSERT_TAIL(&lane->notices, notice, link);
    pthread_cond_signal(&lane->added);
    return true;
}

/* Return: whether @notice is charged to its user. */
static bool notify_charge(struct notice *notice)
{
    uint64_t n = sizeof(*notice) + notice->n_allocated;

    if (quota_charge(notice->notify->quota, notice->uid, n) < 0)
        return false;
    notice->n_charged = n;
    return true;
}

void notice_give(struct notice *notice)
{
    struct notify *notify;
    bool is_given = false;

    if (!notice)
        return;
    notify = notice->notify;
    if (!notice->is_lost && notice->n_bytes > 0 && notify_charge(notice)) {
        pthread_mutex_lock(&notify->lock);
        is_given = notify_enqueue(notify, notice);
        pthread_mutex_unlock(&notify->lock);
    }
    if (!is_given)
        notice_free(notice);
}

/* --- The end --- */

/* Under lock. */
static void drop_waiting(struct notify_lane *lane)
{
    struct notice *notice;

    while ((notice = STAILQ_FIRST(&lane->notices))) {
        STAILQ_REMOVE_HEAD(&lane->notices, link);
        notice_free(notice);
    }
    pthread_cond_signal(&lane->added);
}

bool notify_stop(struct notify *notify)
{
    struct timespec end = in_seconds(STOP_SECONDS);
    struct notify_lane *lane;
    bool has_ended;
    int r = 0;

    pthread_mutex_lock(&notify->lock);
    notify->is_heard = false;
    close_unused(notify);
    for (lane = notify->lanes; lane; lane = lane->hh.next)
        drop_waiting(lane);
    while (notify->lanes && r == 0)
        r = pthread_cond_timedwait(&notify->lane_ended, &notify->lock, &end);
    has_ended = !notify->lanes;
    pthread_mutex_unlock(&notify->lock);
    return has_ended;
}
