#include "shm.h"

#include <sys/stat.h>

#include "shm_dir.h"
#include "shm_names.h"

#define TOP_MODE 01777

int shm_init(struct shm *shm, struct kernel *kernel, const struct caller *owner)
{
    *shm = (struct shm){ 0 };
    pthread_mutex_init(&shm->lock, NULL);
    return shm_dir_new_top(kernel, TOP_MODE, owner, &shm->top);
}

void shm_deinit(struct shm *shm)
{
    struct shm_name *name;
    struct shm_name *next;

    for (unsigned int i = 0; i < HASH_N_PARTS; i++) {
        HASH_ITER(hh, shm->names[i], name, next)
            shm_object_unref(shm_names_take_out(shm, name));
    }
    if (shm->top)
        shm_object_unref(&shm->top->object);
    pthread_mutex_destroy(&shm->lock);
}

int shm_node(struct shm *shm, struct node **ret_node)
{
    return shm_object_node(&shm->top->object, ret_node);
}

uint64_t shm_ino(const struct shm *shm)
{
    return shm->top->object.attr.ino;
}
