/* The bytes of a region: a memfd, made when it is first needed, for an empty region costs no descriptor until
 * it has a byte or can be mapped. Its times are the region's, because only they move when a mapping writes.
 *
 * Locks: the object's (shm_object.h), held by the caller but where it says otherwise.
 *
 * Context: nothing waits but for the memory's own file. */
#ifndef IPCFS_FS_REGION_BYTES_H
#define IPCFS_FS_REGION_BYTES_H

#include <sys/types.h>

#include "shm_object.h"

struct region {
    struct shm_object object;
    atomic_int fd; /* of its bytes; -1: it has none, and never had */
    /* Under the object's lock: */
    int backing_id; /* 0: none yet */
    unsigned int n_open;
    bool was_mappable;             /* it may have been mapped */
    bool may_be_written;           /* through mappings, that is */
    struct timespec noted_changed; /* the bytes' ctime when it was last noted in the object's */
};

/* Makes them if there are none yet. Return: 0; as quota_charge_fds; -EMFILE, -ENFILE, -ENOMEM. */
int region_bytes_make(struct region *region);

/* Gives the descriptor of an empty region back. */
void region_bytes_drop(struct region *region);

/* Return: 0; -EFBIG: no region is as large; as quota_charge. */
int region_bytes_resize(struct region *region, off_t size);

/* Return: how much was written; as region_bytes_resize. Context: no lock held. */
ssize_t region_bytes_write(struct region *region, const char *data, size_t size, off_t offset);

/* As fallocate(2). Return: 0; -EOPNOTSUPP; as region_bytes_resize. */
int region_bytes_allocate(struct region *region, int mode, off_t offset, off_t length);

/* As lseek(2) with SEEK_DATA or SEEK_HOLE. Return: an offset; a negative errno. Context: no lock held. */
off_t region_bytes_seek(struct region *region, off_t offset, int whence);

/* Return: whether somebody may have them open or mapped to write. No file of the region is open. */
bool region_bytes_are_written(struct region *region);

/* Brings the object's times up to date. Return: how many blocks there are. */
blkcnt_t region_bytes_look(struct region *region);

/* The object's times have changed: the atime or the mtime, or both, are the bytes' from now on. */
void region_bytes_set_times(struct region *region, bool atime, bool mtime);

#endif
