/* A node's count of lookups is what the kernel owes: it goes up with each answer that names the node, and down by
 * FORGET. Who obtains a node that another has made meanwhile gets that one, and what the new one held is given
 * back, after the lock. */
#include "node.h"

#include <fuse_lowlevel.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

void nodes_init(struct nodes *nodes, struct kernel *kernel)
{
    *nodes = (struct nodes){ .kernel = kernel };
    pthread_mutex_init(&nodes->lock, NULL);
}

static void destroy(struct node *node)
{
    if (node->ops->release)
        node->ops->release(node);
    free(node);
}

void nodes_deinit(struct nodes *nodes)
{
    struct node *node;
    struct node *next;

    for (unsigned int i = 0; i < HASH_N_PARTS; i++) {
        HASH_ITER(hh, nodes->table[i], node, next) {
            HASH_DEL(nodes->table[i], node);
            destroy(node);
        }
    }
    pthread_mutex_destroy(&nodes->lock);
}

/* Under lock. */
static struct node *node_find(struct nodes *nodes, uint64_t id)
{
    unsigned int hash = hash_of(&id, sizeof(id));
    struct node *node;

    HASH_FIND_BYHASHVALUE(hh, nodes->table[hash_part(hash)], &id, sizeof(id), hash, node);
    return node;
}

/* Under lock: the node in the slot of @node, or @node itself, entered now, with one lookup more.
 * Return: NULL when memory is short. */
static struct node *node_find_or_enter(struct nodes *nodes, struct node *node)
{
    unsigned int hash;

    if (node->slot && *node->slot) {
        (*node->slot)->n_lookups++;
        return *node->slot;
    }
    node->id = ++nodes->last_id;
    hash = hash_of(&node->id, sizeof(node->id));
    HASH_ADD_BYHASHVALUE(hh, nodes->table[hash_part(hash)], id, sizeof(node->id), hash, node);
    if (!hash_added(node, hh))
        return NULL;
    if (node->slot)
        *node->slot = node;
    return node;
}

int node_obtain(struct nodes *nodes, const struct node_ops *ops, void *object, struct node **slot,
                struct node **ret_node)
{
    struct node *node = malloc(sizeof(*node));
    struct node *found;

    if (!node)
        return -ENOMEM;
    *node = (struct node){
        .ops = ops, .kernel = nodes->kernel, .object = object, .n_lookups = 1, .slot = slot
    };
    pthread_mutex_lock(&nodes->lock);
    found = node_find_or_enter(nodes, node);
    pthread_mutex_unlock(&nodes->lock);
    if (!found)
        free(node);
    else if (found != node)
        destroy(node);
    if (!found)
        return -ENOMEM;
    *ret_node = found;
    return 0;
}

/* A directory has one node, of whose changes the kernel knows, and is looked up anew at each step of a path: the kernel need
 * not ask at once whether the caller may go on. */
static double entry_attr_seconds(struct node *node, const struct stat *attr)
{
    if (node->ops->attr_seconds)
        return node->ops->attr_seconds(node);
    return S_ISDIR(attr->st_mode) ? NODE_MOMENT_SECONDS : 0.0;
}

double node_moment(struct node *node)
{
    (void)node;
    return NODE_MOMENT_SECONDS;
}

/* How long the kernel may keep the name of @node in @dir. */
static double entry_seconds(const struct node *node, const struct node *dir)
{
    if (dir && dir->ops->keeps_names)
        return NODE_FOREVER_SECONDS;
    return node->ops->lasts_a_moment ? NODE_MOMENT_SECONDS : 0.0;
}

void node_fill_entry(struct node *node, const struct node *dir, struct fuse_entry_param *ret)
{
    *ret = (struct fuse_entry_param){
        .ino = node->id,
        .generation = 1,
        .entry_timeout = entry_seconds(node, dir),
    };
    node->ops->getattr(node, &ret->attr);
    ret->attr_timeout = entry_attr_seconds(node, &ret->attr);
}

uint64_t node_slot_id(struct nodes *nodes, struct node *const *slot)
{
    uint64_t id;

    pthread_mutex_lock(&nodes->lock);
    id = slot && *slot ? (*slot)->id : 0;
    pthread_mutex_unlock(&nodes->lock);
    return id;
}

struct node *node_get(struct nodes *nodes, uint64_t id)
{
    struct node *node;

    pthread_mutex_lock(&nodes->lock);
    node = node_find(nodes, id);
    pthread_mutex_unlock(&nodes->lock);
    return node;
}

void node_forget(struct nodes *nodes, uint64_t id, uint64_t n)
{
    struct node *node;
    bool last;

    pthread_mutex_lock(&nodes->lock);
    node = node_find(nodes, id);
    assert(node && node->n_lookups >= n);
    node->n_lookups -= n;
    last = node->n_lookups == 0;
    if (last) {
        HASH_DELETE(hh, nodes->table[hash_part(node->hh.hashv)], node);
        if (node->slot)
            *node->slot = NULL;
    }
    pthread_mutex_unlock(&nodes->lock);
    if (last)
        destroy(node);
}

size_t nodes_count(struct nodes *nodes)
{
    size_t n = 0;

    pthread_mutex_lock(&nodes->lock);
    for (unsigned int i = 0; i < HASH_N_PARTS; i++)
        n += HASH_COUNT(nodes->table[i]);
    pthread_mutex_unlock(&nodes->lock);
    return n;
}

uint64_t nodes_new_inos(struct nodes *nodes, unsigned int n)
{
    uint64_t first;

    pthread_mutex_lock(&nodes->lock);
    if (nodes->last_ino < NODE_INO_MADE_END && nodes->last_ino + n >= NODE_INO_MADE_END)
        nodes->last_ino = NODE_INO_MADE_LATER;
    first = nodes->last_ino + 1;
    nodes->last_ino += n;
    pthread_mutex_unlock(&nodes->lock);
    return first;
}
