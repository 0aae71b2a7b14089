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

struct json_t;

struct envelope_source {
    const char *host;
    const char *mount_id;
};

/* The bytes of a message, as recv.json has it: @envelope's own, or in *@ret_decoded, which is the caller's to free.
 * Return: NULL: it has none. */
const char *envelope_body(const struct json_t *envelope, size_t *ret_n, char **ret_decoded);

/* Return: did another bridge bring this message to this mount? @uid is this bridge's own. */
bool envelope_is_foreign(const struct json_t *envelope, const char *mount_id, unsigned uid);

/* Return: the text that names the message for ever, "MOUNT-ID", the caller's to free. */
char *envelope_msg_id(uint64_t id, const char *mount_id);

/* Sets the headers of @msg. Return: 0; -ENOMEM. */
int envelope_to_nats(const struct json_t *envelope, const struct envelope_source *source,
                     natsMsg *msg);

/* Return: does @msg come from the mount @mount_id? */
bool envelope_is_from(natsMsg *msg, const char *mount_id);

/* The bytes and headers of @msg as a line of send.json, its newline included; the caller's to free. Headers that don't fit
 * (4 KiB, names of 64) are left out.
 * Return: the line; NULL: no memory. */
char *envelope_to_line(natsMsg *msg, size_t *ret_n_bytes);

#endif
