#include "msg.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct msg *msg_alloc(size_t size_bytes, unsigned int prio, struct msg_sender sender)
{
    struct msg *msg;

    assert(prio < MSG_N_PRIOS);
    msg = malloc(sizeof(*msg) + size_bytes);
    if (msg)
        *msg = (struct msg){
            .n_refs = 1, .prio = prio, .sender = sender, .size_bytes = size_bytes
        };
    return msg;
}

struct msg *msg_new(const void *data, size_t size_bytes, unsigned int prio,
                    struct msg_sender sender)
{
    struct msg *msg = msg_alloc(size_bytes, prio, sender);

    if (msg && size_bytes > 0)
        memcpy(msg->data, data, size_bytes);
    return msg;
}

struct msg *msg_ref(struct msg *msg)
{
    /* Relaxed: who copies a reference holds one, so the count can't reach zero meanwhile. */
    atomic_fetch_add_explicit(&msg->n_refs, 1, memory_order_relaxed);
    return msg;
}

void msg_unref(struct msg *msg)
{
    if (!msg)
        return;
    /* Acquire and release: the one who frees sees all that the others did with it. */
    if (atomic_fetch_sub_explicit(&msg->n_refs, 1, memory_order_acq_rel) == 1)
        free(msg);
}
