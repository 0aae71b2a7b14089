/* Short files that are made when they are read: `config`, `stat`, `owner`, .ipcfs/.
 *
 * Context: any thread, no lock held; nothing waits. */
#ifndef IPCFS_FS_TEXT_H
#define IPCFS_FS_TEXT_H

#include <linux/fuse.h>
#include <sys/stat.h>

#include "file.h"

struct text_ops {
    struct file_ops file;
    /* Makes the text, to be freed with free(). Return: 0; a negative errno. */
    int (*make)(struct file *file, char **ret_text);
};

struct text_file {
    struct file file;
    const void *about; /* for text_ops.make; set by who opens it, or NULL */
    /* Under file.lock: */
    char *text; /* NULL: not made yet */
    size_t length;
    uint64_t n_kept; /* what it counts for the file's opener */
};

void text_read(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags);
void text_close(struct file *file);

/* What stat says of most of them, as in sysfs: longer than they are. To splice (busybox's cat does,
 * into a pipe) the kernel reads through its page cache, and only below the size that it knows. */
#define TEXT_SIZE_BYTES 4096

/* Makes @attr that of a text of @size_bytes, without holes: cp would look for those. */
static inline void text_set_size(struct stat *attr, off_t size_bytes)
{
    attr->st_size = size_bytes;
    attr->st_blocks = (size_bytes + 511) / 512;
}

/* Seekable, as in sysfs: head(1) goes back to behind what it has shown, and who watches a file reads
 * it again and again from its start. */
#define TEXT_OPS(make_it, write_it, release_it)                                                    \
    {                                                                                              \
        .file = { .open_flags = FOPEN_DIRECT_IO | FOPEN_NOFLUSH,                                   \
                  .read = text_read,                                                               \
                  .write = (write_it),                                                             \
                  .release = (release_it),                                                         \
                  .close = text_close,                                                             \
                  .size = sizeof(struct text_file) },                                              \
        .make = (make_it)                                                                          \
    }

/* @mbox may be NULL. Return: 0; -ENOMEM. */
int text_open(struct kernel *kernel, const struct text_ops *ops, struct mbox *mbox,
              struct file **ret_file);

#endif
