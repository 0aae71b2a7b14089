/* The question is tried at once; the FLUSH of one that stays open is parked as an inquiry, with a reference to the
 * file. */
#include "last_close.h"

#include <errno.h>
#include <stdlib.h>

#include "kernel.h"

struct last_close {
    struct inquiry inquiry;
    struct file *file; /* a reference */
    void (*go_on)(struct file *file, fuse_req_t req, int is_last);
};

static void last_close_answered(struct inquiry *inquiry, int answer)
{
    struct last_close *close = (struct last_close *)inquiry;
    struct file *file = close->file;

    close->go_on(file, inquiry->req, answer == -ENOTCONN ? 0 : answer);
    free(close);
    file_unref(file);
}

/* Return: INQUIRY_PARKED; 0: that can't be: who is short of something hears of the last close by the RELEASE. */
static int last_close_ask(struct file *file, fuse_req_t req, struct question *question,
                          void (*go_on)(struct file *file, fuse_req_t req, int is_last))
{
    struct last_close *close = malloc(sizeof(*close));

    if (!close) {
        question_end(question);
        return 0;
    }
    *close = (struct last_close){
        .inquiry = { .answered = last_close_answered, .req = req },
        .file = file_ref(file),
        .go_on = go_on,
    };
    if (inquiry_ask(&file->kernel->inquiries, &close->inquiry, question) == INQUIRY_PARKED)
        return INQUIRY_PARKED;
    file_unref(file);
    free(close);
    return 0;
}

void last_close_find_out(struct file *file, fuse_req_t req, pid_t pid, uint64_t ino,
                         void (*go_on)(struct file *file, fuse_req_t req, int is_last))
{
    struct question_file what = { .dev = file->kernel->dev, .node_id = file->node_id, .ino = ino };
    struct question question = question_closes_last(fuse_req_ctx(req)->pid, pid, &what);
    int is_last = inquiry_try(&question);

    if (is_last == QUESTION_OPEN)
        is_last = last_close_ask(file, req, &question, go_on);
    if (is_last != INQUIRY_PARKED)
        go_on(file, req, is_last);
}
