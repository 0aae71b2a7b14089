/* Names of what was sent are kept in rings by user, newest first: who asks for one soon after finds it, and what nobody
 * asks for is forgotten by time or by what comes after it. */
#include "drop_names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "fs/kernel/caller.h"
#include "core/base/hash.h"

/* How long a name answers. Those who touch it do so at once, even on a busy machine. */
#define ANSWERS_SECONDS 10

/* How far above a caller a sender is looked for: a program, its shell, and what the shell starts. */
#define N_GENERATIONS 4

/* The field of /proc/PID/stat that says when a process started. The kernel lets a reader wait for an execve that is
 * under way: so it is read only of a process that one of its own threads has just asked us something from, because
 * such an execve has first ended all other threads. */
#define STAT_START_TIME 22

/* PID_FS_MAGIC of <linux/magic.h>: where a pidfd has an inode number of its own (Linux 6.9). */
#define PIDFS_MAGIC 0x50494446

struct process_id {
    pid_t pid;
    uint64_t birth; /* 0: can't be told */
};

struct drop_name {
    uint64_t dir;
    struct process_id sender;
    uid_t uid;
    unsigned int hash; /* drop_name_want() */
    time_t until;      /* CLOCK_MONOTONIC */
    struct stat attr;
    char name[];
};

/* What is looked for. */
struct wanted {
    uint64_t dir;
    uid_t uid;
    unsigned int hash;
    const char *name;
};

/* A caller and its ancestors, the nearest first. */
struct family {
    pid_t pids[1 + N_GENERATIONS];
    unsigned int n;
};

static time_t drop_name_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec;
}

void drop_names_init(struct drop_names *names)
{
    *names = (struct drop_names){ .clock = drop_name_now };
    pthread_mutex_init(&names->lock, NULL);
}

void drop_names_deinit(struct drop_names *names)
{
    for (unsigned int i = 0; i < DROP_NAMES_N_RINGS; i++) {
        for (unsigned int k = 0; k < DROP_NAMES_RING_SIZE; k++)
            free(names->rings[i].names[k]);
    }
    pthread_mutex_destroy(&names->lock);
}

static struct wanted drop_name_want(uint64_t dir, const char *name, uid_t uid)
{
    const uint64_t key[] = { dir, uid, hash_of(name, strlen(name)) };

    return (struct wanted){ dir, uid, hash_of(key, sizeof(key)), name };
}

static struct drop_names_ring *drop_name_ring_of(struct drop_names *names, uid_t uid)
{
    return &names->rings[hash_of(&uid, sizeof(uid)) % DROP_NAMES_N_RINGS];
}

/* Return: whether pidfds have inode numbers; then *@ret_ino is @pid's, or 0: it has ended. */
static bool find_pidfd_ino(pid_t pid, uint64_t *ret_ino)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct statfs fs;
    struct stat st;
    bool has_ino;

    *ret_ino = 0;
    if (fd < 0)
        return errno == ESRCH;
    has_ino = fstatfs(fd, &fs) == 0 && fs.f_type == PIDFS_MAGIC && fstat(fd, &st) == 0;
    if (has_ino)
        *ret_ino = st.st_ino;
    close(fd);
    return has_ino;
}

/* Return: what tells @pid from all other processes that had or will have that pid; 0: nothing does. */
static uint64_t find_birth(pid_t pid, bool is_caller)
{
    uint64_t birth;

    if (find_pidfd_ino(pid, &birth))
        return birth;
    return is_caller ? caller_stat_field(pid, STAT_START_TIME) : 0;
}

static struct drop_name *new_name(const struct wanted *as, const struct process_id *sender)
{
    struct drop_name *name = malloc(sizeof(*name) + strlen(as->name) + 1);

    if (!name)
        return NULL;
    *name = (struct drop_name){
        .dir = as->dir, .uid = as->uid, .hash = as->hash, .sender = *sender
    };
    memcpy(name->name, as->name, strlen(as->name) + 1);
    return name;
}

struct drop_name *drop_name_new(uint64_t dir, const char *name, const struct caller *caller)
{
    struct wanted wanted = drop_name_want(dir, name, caller->uid);
    struct process_id sender = { .pid = caller_process(caller->tid, 0) };

    if (sender.pid > 0)
        sender.birth = find_birth(sender.pid, true);
    return new_name(&wanted, &sender);
}

/* Under lock. Return: the place for the next name; the one in it, if any, is the oldest. */
static struct drop_name **drop_name_next_place(struct drop_names *names, uid_t uid)
{
    struct drop_names_ring *ring = drop_name_ring_of(names, uid);
    struct drop_name **place = &ring->names[ring->next];

    ring->next = (ring->next + 1) % DROP_NAMES_RING_SIZE;
    return place;
}

void drop_names_remember(struct drop_names *names, struct drop_name *name, const struct stat *attr)
{
    struct drop_name **place;
    struct drop_name *old;

    name->attr = *attr;
    name->until = names->clock() + ANSWERS_SECONDS;
    /* Its sender is not in sight: nobody could be told from others. */
    if (name->sender.birth == 0) {
        free(name);
        return;
    }
    pthread_mutex_lock(&names->lock);
    place = drop_name_next_place(names, name->uid);
    old = *place;
    *place = name;
    pthread_mutex_unlock(&names->lock);
    free(old);
}

static bool is_of(const struct family *family, pid_t pid)
{
    for (unsigned int i = 0; i < family->n; i++) {
        if (family->pids[i] == pid)
            return true;
    }
    return false;
}

/* Under lock. @family NULL: any sender. Return: the place of the newest such name; NULL. */
static struct drop_name **drop_name_find(struct drop_names *names, const struct wanted *wanted,
                                         const struct family *family)
{
    struct drop_names_ring *ring = drop_name_ring_of(names, wanted->uid);
    time_t at = names->clock();

    for (unsigned int i = 1; i <= DROP_NAMES_RING_SIZE; i++) {
        unsigned int k = (ring->next + DROP_NAMES_RING_SIZE - i) % DROP_NAMES_RING_SIZE;
        const struct drop_name *name = ring->names[k];

        if (name && name->hash == wanted->hash && name->uid == wanted->uid &&
            name->dir == wanted->dir && at < name->until && strcmp(name->name, wanted->name) == 0 &&
            (!family || is_of(family, name->sender.pid)))
            return &ring->names[k];
    }
    return NULL;
}

static struct family family_of(pid_t tid)
{
    struct family family = { .n = 0 };
    pid_t pid = caller_process(tid, 0);

    while (pid > 0 && family.n < 1 + N_GENERATIONS) {
        family.pids[family.n++] = pid;
        pid = family.n < 1 + N_GENERATIONS ? caller_parent(pid) : 0;
    }
    return family;
}

/* Return: whether @sender is still the process that it was. Where that can't be told it is one of the caller's family, by
 * its pid. */
static bool drop_name_is_same(const struct process_id *sender, const struct family *family)
{
    uint64_t birth = find_birth(sender->pid, sender->pid == family->pids[0]);

    return birth == sender->birth || birth == 0;
}

/* Looks for @wanted on behalf of thread @tid. Return: 0 with whose it is and what stat says; -ENOENT. */
static int find_for(struct drop_names *names, const struct wanted *wanted, pid_t tid,
                    struct process_id *ret_sender, struct stat *ret_attr)
{
    struct drop_name **place;
    struct family family;

    /* Mostly there is none, and nothing need be asked about the caller. */
    pthread_mutex_lock(&names->lock);
    place = drop_name_find(names, wanted, NULL);
    pthread_mutex_unlock(&names->lock);
    if (!place)
        return -ENOENT;
    family = family_of(tid);
    pthread_mutex_lock(&names->lock);
    place = drop_name_find(names, wanted, &family);
    if (place) {
        *ret_sender = (*place)->sender;
        *ret_attr = (*place)->attr;
    }
    pthread_mutex_unlock(&names->lock);
    return place && drop_name_is_same(ret_sender, &family) ? 0 : -ENOENT;
}

int drop_names_find(struct drop_names *names, uint64_t dir, const char *name,
                    const struct caller *caller, struct stat *ret_attr)
{
    struct wanted wanted = drop_name_want(dir, name, caller->uid);
    struct process_id sender;

    return find_for(names, &wanted, caller->tid, &sender, ret_attr);
}

/* Takes all names of @sender's out that are @wanted; the first gives its place to @instead, which may be NULL.
 * Return: whether there was one. */
static bool drop_name_take_out(struct drop_names *names, const struct wanted *wanted,
                               const struct process_id *sender, struct drop_name *instead)
{
    const struct family family = { .pids = { sender->pid }, .n = 1 };
    struct drop_name **place;
    bool found = false;

    pthread_mutex_lock(&names->lock);
    while ((place = drop_name_find(names, wanted, &family))) {
        free(*place);
        *place = found ? NULL : instead;
        found = true;
    }
    pthread_mutex_unlock(&names->lock);
    return found;
}

int drop_names_forget(struct drop_names *names, uint64_t dir, const char *name,
                      const struct caller *caller)
{
    struct wanted wanted = drop_name_want(dir, name, caller->uid);
    struct process_id sender;
    struct stat attr;
    int r = find_for(names, &wanted, caller->tid, &sender, &attr);

    if (r == 0 && !drop_name_take_out(names, &wanted, &sender, NULL))
        r = -ENOENT;
    return r;
}

int drop_names_rename(struct drop_names *names, uint64_t dir, const char *name, const char *to,
                      const struct caller *caller)
{
    struct wanted wanted = drop_name_want(dir, name, caller->uid);
    struct wanted replaced = drop_name_want(dir, to, caller->uid);
    struct process_id sender;
    struct drop_name *renamed;
    struct stat attr;
    int r = find_for(names, &wanted, caller->tid, &sender, &attr);

    if (r < 0 || strcmp(name, to) == 0)
        return r;
    renamed = new_name(&replaced, &sender);
    if (!renamed)
        return -ENOMEM;
    renamed->attr = attr;
    renamed->until = names->clock() + ANSWERS_SECONDS;
    drop_name_take_out(names, &replaced, &sender, NULL);
    if (drop_name_take_out(names, &wanted, &sender, renamed))
        return 0;
    free(renamed);
    return -ENOENT;
}
