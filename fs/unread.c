#include "unread.h"

#include <errno.h>
#include <stdlib.h>

#include "fs.h"

struct chunk {
    struct msg *bytes; /* a reference */
    size_t offset;     /* where the next read goes on; at the end there is only the end of file */
    bool ends;
    TAILQ_ENTRY(chunk) link;
};

void unread_init(struct unread *unread, struct file *file)
{
    unread->file = file;
    TAILQ_INIT(&unread->chunks);
}

static void chunk_free(struct chunk *chunk)
{
    msg_unref(chunk->bytes);
    free(chunk);
}

void unread_deinit(struct unread *unread)
{
    struct chunk *chunk;

    while ((chunk = TAILQ_FIRST(&unread->chunks))) {
        TAILQ_REMOVE(&unread->chunks, chunk, link);
        chunk_free(chunk);
    }
}

int unread_add(struct unread *unread, struct msg *bytes, size_t offset, bool ends)
{
    struct chunk *chunk = malloc(sizeof(*chunk));

    if (!chunk)
        return -ENOMEM;
    *chunk = (struct chunk){ .bytes = msg_ref(bytes), .offset = offset, .ends = ends };
    pthread_mutex_lock(&unread->file->lock);
    TAILQ_INSERT_TAIL(&unread->chunks, chunk, link);
    pthread_mutex_unlock(&unread->file->lock);
    return 0;
}

void unread_remove(struct unread *unread, const struct msg *bytes)
{
    struct chunk *chunk;

    pthread_mutex_lock(&unread->file->lock);
    TAILQ_FOREACH(chunk, &unread->chunks, link) {
        if (chunk->bytes == bytes)
            break;
    }
    if (chunk)
        TAILQ_REMOVE(&unread->chunks, chunk, link);
    pthread_mutex_unlock(&unread->file->lock);
    if (chunk)
        chunk_free(chunk);
}

bool unread_is_empty(struct unread *unread)
{
    bool is_empty;

    pthread_mutex_lock(&unread->file->lock);
    is_empty = TAILQ_EMPTY(&unread->chunks);
    pthread_mutex_unlock(&unread->file->lock);
    return is_empty;
}

/* What one read gets. */
struct piece {
    struct msg *bytes; /* a reference; NULL: end of file */
    size_t offset;
    size_t size;
};

static bool is_read(const struct chunk *chunk)
{
    return chunk->offset == chunk->bytes->size_bytes;
}

/* Return: whether there is something. */
static bool advance(struct unread *unread, size_t size, bool later_part, struct piece *ret)
{
    struct chunk *chunk;
    bool is_done;

    *ret = (struct piece){ 0 };
    pthread_mutex_lock(&unread->file->lock);
    chunk = TAILQ_FIRST(&unread->chunks);
    is_done = chunk && is_read(chunk) && !later_part;
    if (chunk && !is_read(chunk)) {
        size_t left = chunk->bytes->size_bytes - chunk->offset;

        ret->bytes = msg_ref(chunk->bytes);
        ret->offset = chunk->offset;
        ret->size = size < left ? size : left;
        chunk->offset += ret->size;
        is_done = is_read(chunk) && !chunk->ends;
        if (is_read(chunk))
            msg_discharge(chunk->bytes);
    }
    if (is_done)
        TAILQ_REMOVE(&unread->chunks, chunk, link);
    pthread_mutex_unlock(&unread->file->lock);
    if (is_done)
        chunk_free(chunk);
    return chunk;
}

/* @piece did not arrive: the next read starts where that one did. */
static void rewind_to(struct unread *unread, const struct piece *piece)
{
    struct chunk *chunk;
    bool is_there;

    pthread_mutex_lock(&unread->file->lock);
    chunk = TAILQ_FIRST(&unread->chunks);
    is_there = chunk && chunk->bytes == piece->bytes;
    if (is_there && chunk->offset == piece->offset + piece->size)
        chunk->offset = piece->offset;
    if (is_there)
        msg_recharge(chunk->bytes, &unread->file->fs->domain.quota);
    pthread_mutex_unlock(&unread->file->lock);
    /* It was the last of a chunk without an end. */
    if (!is_there)
        unread_add(unread, piece->bytes, piece->offset, false);
}

bool unread_answer(struct unread *unread, fuse_req_t req, size_t size, bool later_part)
{
    struct piece piece;
    const char *data;

    if (!advance(unread, size, later_part, &piece))
        return false;
    data = piece.bytes ? (const char *)piece.bytes->data + piece.offset : NULL;
    if (fuse_reply_buf(req, data, piece.size) < 0 && piece.bytes)
        rewind_to(unread, &piece);
    msg_unref(piece.bytes);
    return true;
}
