/* Threads are kept in a circle: the next one takes the oldest's place. To be forgotten costs one more try. */
#include "drop_dirs.h"

void drop_dirs_init(struct drop_dirs *dirs)
{
    *dirs = (struct drop_dirs){ 0 };
    pthread_mutex_init(&dirs->lock, NULL);
}

void drop_dirs_deinit(struct drop_dirs *dirs)
{
    pthread_mutex_destroy(&dirs->lock);
}

void drop_dirs_note(struct drop_dirs *dirs, pid_t tid)
{
    pthread_mutex_lock(&dirs->lock);
    dirs->retrying[dirs->next++ % DROP_DIRS_RETRYING] = tid;
    pthread_mutex_unlock(&dirs->lock);
}

/* Under lock. Return: where @tid stands; NULL: nowhere. */
static pid_t *drop_dirs_find(struct drop_dirs *dirs, pid_t tid)
{
    for (unsigned int i = 0; i < DROP_DIRS_RETRYING; i++) {
        if (dirs->retrying[i] == tid)
            return &dirs->retrying[i];
    }
    return NULL;
}

bool drop_dirs_is_retrying(struct drop_dirs *dirs, pid_t tid)
{
    bool is_retrying;

    pthread_mutex_lock(&dirs->lock);
    is_retrying = tid != 0 && drop_dirs_find(dirs, tid);
    pthread_mutex_unlock(&dirs->lock);
    return is_retrying;
}

bool drop_dirs_retried(struct drop_dirs *dirs, pid_t tid)
{
    pid_t *found;

    pthread_mutex_lock(&dirs->lock);
    found = tid != 0 ? drop_dirs_find(dirs, tid) : NULL;
    if (found)
        *found = 0;
    pthread_mutex_unlock(&dirs->lock);
    return found;
}
