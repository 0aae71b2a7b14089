/* An entry is small, and made before it is known whether its message finds room: what may fail is over by then.
 * What it costs is part of what a message counts for at least (MSG_MIN_CHARGE_BYTES). */
#include "entry.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "journal.h"

struct mbox_entry *mbox_entry_new(struct msg *msg)
{
    struct mbox_entry *entry = calloc(1, sizeof(*entry));

    if (entry)
        entry->msg = msg ? msg_ref(msg) : NULL;
    return entry;
}

static void free_headers(struct mbox_entry *entry)
{
    if (!entry->headers)
        return;
    quota_release(entry->msg->charge.quota, entry->msg->sender.uid, entry->n_extra);
    free(entry->headers);
}

int mbox_entry_set_headers(struct mbox_entry *entry, struct headers *headers)
{
    uint64_t n_extra = sizeof(*headers) + headers_charge_bytes(headers);
    int r = quota_restore(entry->msg->charge.quota, entry->msg->sender.uid, n_extra);

    if (r < 0)
        return r;
    free_headers(entry);
    entry->headers = headers;
    entry->n_extra = n_extra;
    return 0;
}

int mbox_entry_prepare_note(struct mbox_entry *entry, struct mbox_journal *journal)
{
    if (entry->note)
        return 0;
    entry->journal = journal;
    entry->note = journal->ops->note_new(journal);
    return entry->note ? 0 : -ENOMEM;
}

void mbox_entry_free(struct mbox_entry *entry)
{
    if (!entry)
        return;
    assert(!entry->is_leased);
    free_headers(entry);
    if (entry->note)
        entry->journal->ops->forget(entry->journal, entry->note, NULL);
    mbox_entry_discharge(entry);
    msg_unref(entry->msg);
    free(entry);
}

void mbox_entry_set(struct mbox_entry *entry, struct msg *msg)
{
    msg_unref(entry->msg);
    entry->msg = msg_ref(msg);
}

int mbox_entry_charge(struct mbox_entry *entry, struct quota *quota)
{
    struct msg *msg = entry->msg;
    int r = quota_charge_begin(&msg->charge, quota, msg->sender.uid, msg_charge_bytes(msg));

    entry->is_charged = r == 0;
    return r;
}

int mbox_entry_share_charge(struct mbox_entry *entry, struct quota *quota)
{
    struct msg *msg = entry->msg;
    int r = quota_charge_join(&msg->charge, quota, msg->sender.uid, msg_charge_bytes(msg));

    entry->is_charged = r == 0;
    entry->is_shared = true;
    return r;
}

void mbox_entry_adopt_charge(struct mbox_entry *entry, struct quota *quota)
{
    struct msg *msg = entry->msg;

    quota_charge_adopt(&msg->charge, quota, msg->sender.uid, msg_charge_bytes(msg));
    entry->is_charged = true;
}

void mbox_entry_leave_charge(struct mbox_entry *entry)
{
    entry->msg->charge = (struct quota_charge){ 0 };
    entry->is_charged = false;
}

void mbox_entry_discharge(struct mbox_entry *entry)
{
    if (!entry->is_charged)
        return;
    entry->is_charged = false;
    quota_charge_hand_on(&entry->msg->charge);
}

int mbox_entry_charge_keeper(struct mbox_entry *entry, struct quota *quota, uid_t uid)
{
    struct msg *msg = entry->msg;
    int r;

    if (entry->is_charged) {
        quota_charge_move(&msg->charge, uid);
        return 0;
    }
    r = quota_charge_begin(&msg->charge, quota, uid, msg_charge_bytes(msg));
    entry->is_charged = r == 0;
    return r;
}

void mbox_entry_recharge(struct mbox_entry *entry, struct quota *quota, uid_t uid)
{
    struct msg *msg = entry->msg;

    mbox_entry_discharge(entry);
    quota_charge_restore(&msg->charge, quota, uid, msg_charge_bytes(msg));
    entry->is_charged = true;
}
