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
    if (atomic_fetch_sub_explicit(&msg->n_refs, 1, memory_order_acq_rel) > 1)
        return;
    quota_charge_end(&msg->charge);
    free(msg);
}

int msg_charge(struct msg *msg, struct quota *quota)
{
    int r = quota_charge_begin(&msg->charge, quota, msg->sender.uid, msg_charge_bytes(msg));

    msg->is_charged = r == 0;
    return r;
}

void msg_adopt_charge(struct msg *msg, struct quota *quota)
{
    quota_charge_adopt(&msg->charge, quota, msg->sender.uid, msg_charge_bytes(msg));
    msg->is_charged = true;
}

void msg_leave_charge(struct msg *msg)
{
    msg->charge = (struct quota_charge){ 0 };
    msg->is_charged = false;
}

void msg_discharge(struct msg *msg)
{
    if (!msg->is_charged)
        return;
    msg->is_charged = false;
    quota_charge_hand_on(&msg->charge);
}

int msg_charge_keeper(struct msg *msg, struct quota *quota, uid_t uid)
{
    int r;

    if (msg->is_charged) {
        quota_charge_move(&msg->charge, uid);
        return 0;
    }
    r = quota_charge_begin(&msg->charge, quota, uid, msg_charge_bytes(msg));
    msg->is_charged = r == 0;
    return r;
}

void msg_recharge(struct msg *msg, struct quota *quota)
{
    quota_charge_restore(&msg->charge, quota, msg->sender.uid, msg_charge_bytes(msg));
    if (msg->is_charged)
        quota_charge_drop(&msg->charge);
    msg->is_charged = true;
}

struct msg *msg_hold(struct msg *msg, struct quota *quota, uid_t uid)
{
    quota_charge_hold(&msg->charge, quota, uid);
    return msg_ref(msg);
}

void msg_let_go(struct msg *msg)
{
    quota_charge_drop(&msg->charge);
    msg_unref(msg);
}
