/* A name is found by its directory's inode number and its text, in one table for all directories. */
#include "shm_names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/mailbox/names.h"

#define KEY_BYTES_MAX (sizeof(uint64_t) + NAME_BYTES_MAX)

/* Return: how long the key is. */
static size_t make_key(char key[KEY_BYTES_MAX], const struct shm_dir *dir, const char *text,
                       size_t length)
{
    memcpy(key, &dir->object.attr.ino, sizeof(uint64_t));
    memcpy(key + sizeof(uint64_t), text, length);
    return sizeof(uint64_t) + length;
}

struct shm_name *shm_names_find(struct shm_names *names, const struct shm_dir *dir,
                                const char *text)
{
    size_t length = strlen(text);
    char key[KEY_BYTES_MAX];
    struct shm_name *name;
    unsigned int hash;
    size_t size;

    if (length > NAME_BYTES_MAX)
        return NULL;
    size = make_key(key, dir, text, length);
    hash = hash_of(key, size);
    HASH_FIND_BYHASHVALUE(hh, names->table[hash_part(hash)], key, size, hash, name);
    return name;
}

/* Return: a name that is in no table yet; NULL when memory is short. */
static struct shm_name *shm_name_name_new(struct shm_dir *dir, const char *text, size_t length)
{
    struct shm_name *name = calloc(1, sizeof(*name) + length + 1);

    if (!name)
        return NULL;
    name->dir = dir;
    name->dir_ino = dir->object.attr.ino;
    memcpy(name->text, text, length);
    return name;
}

int shm_names_add(struct shm_names *names, struct shm_dir *dir, const char *text,
                  struct shm_object *object)
{
    size_t length = strlen(text);
    size_t size = offsetof(struct shm_name, text) - offsetof(struct shm_name, dir_ino) + length;
    struct shm_name *name;
    unsigned int hash;

    if (length > NAME_BYTES_MAX)
        return -ENAMETOOLONG;
    name = shm_name_name_new(dir, text, length);
    if (!name)
        return -ENOMEM;
    hash = hash_of(&name->dir_ino, size);
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, names->table[hash_part(hash)], &name->dir_ino, size, hash,
                                name);
    if (!hash_added(name, hh)) {
        free(name);
        return -ENOMEM;
    }
    if (shm_order_add(&dir->order, name) < 0) {
        HASH_DELETE(hh, names->table[hash_part(hash)], name);
        free(name);
        return -ENOMEM;
    }
    name->object = shm_object_ref(object);
    shm_object_ref(&dir->object);
    return 0;
}

struct shm_object *shm_names_take_out(struct shm_names *names, struct shm_name *name)
{
    struct shm_object *object = name->object;
    struct shm_dir *dir = name->dir;

    shm_order_remove(&dir->order, name);
    HASH_DELETE(hh, names->table[hash_part(name->hh.hashv)], name);
    free(name);
    shm_object_unref(&dir->object);
    return object;
}

void shm_names_init(struct shm_names *names)
{
    *names = (struct shm_names){ 0 };
    pthread_mutex_init(&names->lock, NULL);
}

void shm_names_deinit(struct shm_names *names)
{
    struct shm_name *name;
    struct shm_name *next;

    for (unsigned int i = 0; i < HASH_N_PARTS; i++) {
        HASH_ITER(hh, names->table[i], name, next)
            shm_object_unref(shm_names_take_out(names, name));
    }
    pthread_mutex_destroy(&names->lock);
}
