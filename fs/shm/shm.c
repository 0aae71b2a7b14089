/* The room is its top directory and the table of all names; what is unlinked at the end goes with its last
 * reference. */
#include "shm.h"

#include <sys/stat.h>

#include "shm_dir.h"
#include "shm_names.h"

#define TOP_MODE 01777

int shm_init(struct shm *shm, struct kernel *kernel, const struct caller *owner)
{
    shm->top = NULL;
    shm_names_init(&shm->names);
    return shm_dir_new_top(kernel, &shm->names, TOP_MODE, owner, &shm->top);
}

void shm_deinit(struct shm *shm)
{
    shm_names_deinit(&shm->names);
    if (shm->top)
        shm_object_unref(&shm->top->object);
}

int shm_node(struct shm *shm, struct node **ret_node)
{
    return shm_object_node(&shm->top->object, ret_node);
}

uint64_t shm_ino(const struct shm *shm)
{
    return shm->top->object.attr.ino;
}
