#include "box_kept.h"

#include <stdio.h>
#include <string.h>

#define DIR_NAME "."

/* The longest name of a file, with a NUL. */
#define FILE_NAME_MAX 32

struct line {
    char name[FILE_NAME_MAX];
    struct box_kept kept;
};

/* Appends a line at *@n. Return: whether there was room. */
static bool kept_add_line(char *text, size_t size, size_t *n, const char *name,
                          const struct attr *attr)
{
    int length = snprintf(text + *n, size - *n, "%s %04o %u %u\n", name,
                          (unsigned int)(attr->mode & 07777), (unsigned int)attr->uid,
                          (unsigned int)attr->gid);

    if (length < 0 || (size_t)length >= size - *n)
        return false;
    *n += (size_t)length;
    return true;
}

size_t box_describe(struct mbox *mbox, char *text, size_t size)
{
    struct box *box = box_of(mbox);
    size_t n = 0;
    bool fits;

    pthread_mutex_lock(&box->lock);
    fits = kept_add_line(text, size, &n, DIR_NAME, &box->dir);
    for (unsigned int i = 0; fits && i < box_n_files(box->kind); i++) {
        const struct box_file *file = box_file_at(box->kind, i);

        if (file)
            fits = kept_add_line(text, size, &n, file->name, &box->files[i]);
    }
    pthread_mutex_unlock(&box->lock);
    return n;
}

/* Reads the line at *@at and goes behind it. Return: whether there was one that can be understood. */
static bool kept_read_line(const char *text, size_t n, size_t *at, struct line *ret_line)
{
    unsigned int mode;
    unsigned int uid;
    unsigned int gid;
    char copy[FILE_NAME_MAX + 64];
    const char *end = *at < n ? memchr(text + *at, '\n', n - *at) : NULL;
    size_t length = end ? (size_t)(end - text) - *at : 0;

    if (!end || length >= sizeof(copy))
        return false;
    memcpy(copy, text + *at, length);
    copy[length] = '\0';
    *at += length + 1;
    if (sscanf(copy, "%31s %o %u %u", ret_line->name, &mode, &uid, &gid) != 4)
        return false;
    ret_line->kept = (struct box_kept){ .mode = mode & 07777, .uid = uid, .gid = gid };
    return true;
}

bool box_read_kept(const char *text, size_t n, struct box_kept *ret_kept)
{
    struct line line;
    size_t at = 0;

    while (kept_read_line(text, n, &at, &line)) {
        if (strcmp(line.name, DIR_NAME) != 0)
            continue;
        *ret_kept = line.kept;
        return true;
    }
    return false;
}

static void restore_file(struct box *box, const struct line *line)
{
    for (unsigned int i = 0; i < box_n_files(box->kind); i++) {
        const struct box_file *file = box_file_at(box->kind, i);
        struct attr *attr = &box->files[i];

        if (!file || strcmp(file->name, line->name) != 0)
            continue;
        attr->mode = (attr->mode & S_IFMT) | line->kept.mode;
        attr->uid = line->kept.uid;
        attr->gid = line->kept.gid;
    }
}

void box_restore_files(struct box *box, const char *text, size_t n)
{
    struct line line;
    size_t at = 0;

    pthread_mutex_lock(&box->lock);
    while (kept_read_line(text, n, &at, &line))
        restore_file(box, &line);
    pthread_mutex_unlock(&box->lock);
}
