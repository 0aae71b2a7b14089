/* What a message says of itself, as the mount tells it and as NATS headers.
 *
 *   NATS header    in the mount                    from the mount it is the kernel's word, from NATS the sender's
 *   Nats-Msg-Id    mount_id and id
 *   Ipcfs-Host     header origin-host              the bridge's --host
 *   Ipcfs-Mount    header origin-mount             mount_id of .ipcfs/version
 *   Ipcfs-Id       header origin-id                id
 *   Ipcfs-Uid      header origin-uid               uid, so too gid, pid
 *   Ipcfs-Time     header origin-time              time
 *   Ipcfs-Prio     prio                            prio, left out where it is 0
 *   NAME           header NAME                     header NAME, if it says nothing of NATS or ipcfs and is one line
 *   Ipcfs-H-NAME   header NAME                     any other header NAME, its value with %XX for bytes that NATS can't have */
#ifndef IPCFS_TOOLS_NATS_ENVELOPE_H
#define IPCFS_TOOLS_NATS_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nats/nats.h>

struct json_object;

struct envelope_source {
    const char *host;
    const char *mount_id;
};

/* Text that is made piece by piece. */
struct envelope_text {
    char *data; /* the owner's to free */
    size_t n;
    size_t n_allocated;
};

/* The bytes of a message, as recv.json has it: @envelope's own, or in *@ret_decoded, which is the caller's to free.
 * Return: NULL: it has none. */
const char *envelope_body(struct json_object *envelope, size_t *ret_n, char **ret_decoded);

/* Return: did another bridge bring this message to this mount? @uid is this bridge's own. */
bool envelope_is_foreign(struct json_object *envelope, const char *mount_id, unsigned uid);

/* Return: the text that names the message for ever, "MOUNT-ID", the caller's to free. */
char *envelope_msg_id(uint64_t id, const char *mount_id);

/* Sets the headers of @msg, whose name for ever is @msg_id. @text is for use meanwhile. Return: 0; -ENOMEM. */
int envelope_to_nats(struct json_object *envelope, const struct envelope_source *source,
                     const char *msg_id, struct envelope_text *text, natsMsg *msg);

/* Return: the bytes of the headers of @msg as they go out, counted roughly and never too low: a name, a value, and four between. */
size_t envelope_headers_bytes(natsMsg *msg);

/* Return: does @msg come from the mount @mount_id? */
bool envelope_is_from(natsMsg *msg, const char *mount_id);

/* Adds the bytes and headers of @msg as a line of send.json. Headers that don't fit (4 KiB, names of 64) are left out. */
void envelope_add_line(struct envelope_text *lines, natsMsg *msg);

#endif
