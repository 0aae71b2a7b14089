/* What an object counts is one sum (cost), charged anew at each change before it is made; a chown moves it. The
 * descriptor of a region counts beside it. */
#include "shm_object.h"

#include <errno.h>

#include "fs/kernel/kernel.h"

/* What one more name costs. */
#define NAME_BYTES 512

static struct quota *object_quota_of(struct shm_object *object)
{
    return object->kernel->quota;
}

/* Under lock. Return: what it counts for with a size of @n_bytes. */
static uint64_t cost(const struct shm_object *object, uint64_t n_bytes)
{
    uint64_t least = object->kind->min_bytes;

    /* Its bytes are in it, not in a file. */
    if (object->kind->type == S_IFLNK)
        least += n_bytes;
    if (object->n_names > 1)
        least += (uint64_t)NAME_BYTES * (object->n_names - 1);
    return (n_bytes > least ? n_bytes : least) + object->xattrs.n_bytes;
}

int shm_object_recharge(struct shm_object *object, uint64_t n_bytes)
{
    uint64_t n = cost(object, n_bytes);
    int r = 0;

    if (n > object->n_charged)
        r = quota_charge(object_quota_of(object), object->attr.uid, n - object->n_charged);
    else
        quota_release(object_quota_of(object), object->attr.uid, object->n_charged - n);
    if (r == 0)
        object->n_charged = n;
    return r;
}

int shm_object_charge_fd(struct shm_object *object)
{
    int r = quota_charge_fds(object_quota_of(object), object->attr.uid, 1);

    if (r == 0)
        object->n_fds++;
    return r;
}

void shm_object_release_fd(struct shm_object *object)
{
    quota_release_fds(object_quota_of(object), object->attr.uid, 1);
    object->n_fds--;
}

int shm_object_init(struct shm_object *object, struct kernel *kernel, const struct shm_kind *kind,
                    mode_t mode, const struct caller *owner, uint64_t n_bytes)
{
    int r;

    object->n_refs = 1;
    object->kernel = kernel;
    object->kind = kind;
    object->n_bytes = n_bytes;
    object->attr.uid = owner->uid;
    r = shm_object_recharge(object, n_bytes);
    if (r < 0)
        return r;
    pthread_mutex_init(&object->lock, NULL);
    shm_xattrs_init(&object->xattrs);
    attr_init(&object->attr, nodes_new_inos(&kernel->nodes, 1), kind->type | (mode & 07777),
              owner->uid, owner->gid);
    return 0;
}

void shm_object_deinit(struct shm_object *object)
{
    shm_xattrs_deinit(&object->xattrs);
    quota_release(object_quota_of(object), object->attr.uid, object->n_charged);
    pthread_mutex_destroy(&object->lock);
}

struct shm_object *shm_object_ref(struct shm_object *object)
{
    /* Relaxed: as msg_ref. */
    atomic_fetch_add_explicit(&object->n_refs, 1, memory_order_relaxed);
    return object;
}

void shm_object_unref(struct shm_object *object)
{
    if (atomic_fetch_sub_explicit(&object->n_refs, 1, memory_order_acq_rel) == 1)
        object->kind->free(object);
}

int shm_object_node(struct shm_object *object, struct node **ret_node)
{
    int r;

    shm_object_ref(object);
    r = node_obtain(&object->kernel->nodes, object->kind->node_ops, object, &object->node,
                    ret_node);
    if (r < 0)
        shm_object_unref(object);
    return r;
}

/* Under lock: what is charged to the owner is charged to @uid. */
static int change_owner(struct shm_object *object, uid_t uid)
{
    struct quota *quota = object_quota_of(object);
    uid_t old = object->attr.uid;
    int r;

    if (uid == old)
        return 0;
    /* Descriptors first: a charge can be given back, a move need not find room for the way back. */
    r = object->n_fds > 0 ? quota_charge_fds(quota, uid, object->n_fds) : 0;
    if (r < 0)
        return r;
    r = quota_move(quota, old, uid, object->n_charged);
    if (object->n_fds > 0)
        quota_release_fds(quota, r < 0 ? uid : old, object->n_fds);
    return r;
}

int shm_object_change(struct shm_object *object, const struct node_change *change)
{
    int r = 0;

    if (change->to_set & FUSE_SET_ATTR_UID)
        r = change_owner(object, change->attr.st_uid);
    if (r == 0)
        attr_change(&object->attr, change);
    return r;
}

int shm_object_count_names(struct shm_object *object, int n_more)
{
    const struct node_change nothing = { 0 };
    int r;

    pthread_mutex_lock(&object->lock);
    object->n_names += (unsigned int)n_more;
    r = shm_object_recharge(object, object->n_bytes);
    if (r < 0)
        object->n_names -= (unsigned int)n_more;
    else
        attr_change(&object->attr, &nothing);
    pthread_mutex_unlock(&object->lock);
    return r;
}

void shm_object_touch(struct shm_object *object)
{
    pthread_mutex_lock(&object->lock);
    attr_touch(&object->attr);
    pthread_mutex_unlock(&object->lock);
}

void shm_object_invalidate(struct shm_object *object)
{
    uint64_t id = node_slot_id(&object->kernel->nodes, &object->node);

    /* Only attributes: the kernel takes no lock of the inode's. */
    if (id && object->kernel->session)
        fuse_lowlevel_notify_inval_inode(object->kernel->session, id, -1, 0);
}

void shm_object_getattr(struct node *node, struct stat *ret_attr)
{
    struct shm_object *object = node->object;

    pthread_mutex_lock(&object->lock);
    attr_get(&object->attr, ret_attr);
    ret_attr->st_size = (off_t)object->n_bytes;
    ret_attr->st_nlink = object->n_names;
    pthread_mutex_unlock(&object->lock);
}

int shm_object_setattr(struct node *node, const struct node_change *change)
{
    struct shm_object *object = node->object;
    int r;

    pthread_mutex_lock(&object->lock);
    r = shm_object_change(object, change);
    pthread_mutex_unlock(&object->lock);
    return r;
}

void shm_object_release(struct node *node)
{
    shm_object_unref(node->object);
}

double shm_object_attr_seconds(struct node *node)
{
    (void)node;
    return NODE_FOREVER_SECONDS;
}
