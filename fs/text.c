/* A read at the start of the file makes the text anew; reads further on go on in the same one. So
 * a reader sees one state, however small its reads, and sees a new one after it has begun again. */
#include "text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Under lock. */
static int make_anew(struct text_file *self)
{
    const struct text_ops *ops = (const struct text_ops *)self->file.ops;
    char *text;
    int r = ops->make(&self->file, &text);

    free(self->text);
    self->text = r < 0 ? NULL : text;
    self->length = r < 0 ? 0 : strlen(text);
    return r;
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
    free(((struct text_file *)file)->text);
}

int text_open(struct fs *fs, const struct text_ops *ops, struct mbox *mbox, struct file **ret_file)
{
    return file_new(fs, &ops->file, mbox, ret_file);
}
