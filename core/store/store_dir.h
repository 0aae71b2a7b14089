/* The directory of a store: whose it is, who uses it, and what its files are worth.
 *
 *   lock       locked (flock) by the daemon whose pid stands in it, with `ending` behind it while that ends
 *   state      lines of key=value: format=N; boot=ID while a daemon uses it, boot=clean after an orderly end
 *   live.mdb   all that is kept (store_db.h), good as long as the machine has not ended since, unless that was orderly
 *   disk.mdb   names, owners, modes, configs, and what durable=disk has kept: good at every moment
 *
 * The directory is the user's own, mode 0700, and so nobody else can put a link or another file into it; what is found
 * there is opened without following links all the same.
 *
 * Whoever opens it owns it until store_dir_close(). Context: one thread. */
#ifndef IPCFS_CORE_STORE_DIR_H
#define IPCFS_CORE_STORE_DIR_H

#include <limits.h>
#include <stdbool.h>

/* Long enough for one line that says why a store can't be had. */
#define STORE_WHY_MAX 512

struct store_dir {
    int fd;
    int lock_fd;
    char live_path[64]; /* through fd, so that whatever is renamed above it is the same */
    char disk_path[64];
    bool is_new;          /* there was nothing in it */
    bool is_live_trusted; /* live.mdb is as it was left */
};

/* Opens @path, making it where it is missing, and locks it. Nothing that was in it is changed. Who has it is waited for if it
 * ends within a second, or says within that time that it ends.
 * Return: 0; a negative errno, with one line in @why: it is not ours, in use (-EBUSY), of a newer version, no store, on a
 * filesystem that can't hold one. */
int store_dir_open(struct store_dir *dir, const char *path, char why[STORE_WHY_MAX]);

/* As store_dir_open, for one who only looks: makes nothing, and writes nothing. Return: as store_dir_open. */
int store_dir_look(struct store_dir *dir, const char *path, char why[STORE_WHY_MAX]);

/* This process is who has it, for a second daemon to tell. Return: 0; a negative errno. */
int store_dir_enter(struct store_dir *dir);

/* This process is about to end: a second daemon waits for that. */
void store_dir_leave(struct store_dir *dir);

/* From now on live.mdb is good only as long as this machine runs; on the disk before this returns.
 * Return: 0; a negative errno. */
int store_dir_begin(struct store_dir *dir);

/* All of live.mdb is on the disk, and nobody writes it. Return: 0; a negative errno. */
int store_dir_end(struct store_dir *dir);

/* Gives the lock back. @dir may be zeroed by STORE_DIR_NONE. */
void store_dir_close(struct store_dir *dir);

#define STORE_DIR_NONE ((struct store_dir){ .fd = -1, .lock_fd = -1 })

#endif
