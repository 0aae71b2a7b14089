/* A read at the start of the file makes the text anew; reads further on go on in the same one. So
 * a reader sees one state, however small its reads, and sees a new one after it has begun again. */
#include "text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"

/* Those that are no longer are covered by what each open file counts. */
#define FREE_BYTES 512

static struct quota *text_quota_of(struct text_file *self)
{
    return self->file.kernel->quota;
}

/* Under lock. */
static void drop(struct text_file *self)
{
    free(self->text);
    self->text = NULL;
    self->length = 0;
    quota_release_kept(text_quota_of(self), self->file.opener.uid, self->n_kept, QUOTA_OPEN);
    self->n_kept = 0;
}

/* Under lock: keeps @text, if the file's opener may have it kept. Return: 0; as quota_charge_kept. */
static int text_keep(struct text_file *self, char *text)
{
    size_t length = strlen(text);
    int r = 0;

    if (length > FREE_BYTES)
        r = quota_charge_kept(text_quota_of(self), self->file.opener.uid, length + 1, QUOTA_OPEN);
    if (r < 0) {
        free(text);
        return r;
    }
    self->n_kept = length > FREE_BYTES ? length + 1 : 0;
    self->text = text;
    self->length = length;
    return 0;
}

/* Under lock. */
static int make_anew(struct text_file *self)
{
    const struct text_ops *ops = (const struct text_ops *)self->file.ops;
    char *text;
    int r;

    drop(self);
    r = ops->make(&self->file, &text);
    return r < 0 ? r : text_keep(self, text);
}

void text_read(struct file *file, fuse_req_t req, size_t size, off_t offset, int flags)
{
    struct text_file *self = (struct text_file *)file;
    char *copy = NULL;
    size_t n = 0;
    int r = 0;

    (void)flags;
    pthread_mutex_lock(&file->lock);
    if (offset == 0 || !self->text)
        r = make_anew(self);
    if ((size_t)offset < self->length) {
        n = self->length - (size_t)offset;
        n = size < n ? size : n;
        copy = malloc(n);
        if (copy)
            memcpy(copy, self->text + offset, n);
        else
            r = -ENOMEM;
    }
    pthread_mutex_unlock(&file->lock);
    if (r < 0)
        fuse_reply_err(req, -r);
    else
        fuse_reply_buf(req, copy, n);
    free(copy);
}

void text_close(struct file *file)
{
    drop((struct text_file *)file);
}

int text_open(struct kernel *kernel, const struct text_ops *ops, struct mbox *mbox,
              struct file **ret_file)
{
    return file_new(&kernel->files, &ops->file, mbox, ret_file);
}
