/* A line of `send.json`, an object that says what to send; and one of `work.json` that says what to answer.
 *
 * Its members: `text`, or `base64` (RFC 4648, section 4, padded); `prio`, from 0 to MSG_N_PRIOS - 1; `headers`, an object of
 * strings. Each may be missing, none may stand twice, and there are no others. An answer has `text` or `base64`, and `id`, the
 * question's; and no others.
 *
 * Context: any thread. */
#ifndef IPCFS_FS_JSON_LINE_H
#define IPCFS_FS_JSON_LINE_H

#include "core/mailbox/msg.h"

/* Return: how long a line may be whose message is @message_bytes long: each byte an escape, and headers, and some space. */
size_t json_line_max(size_t message_bytes);

/* Makes the message of the @n bytes at @line.
 * Return: 0 with the message, one reference, the caller's; -EINVAL: no such object, or nothing may be sent so; -ENOMEM. */
int json_line_parse(const char *line, size_t n, struct msg_sender sender, struct msg **ret_msg);

/* The same of an answer, which is to message *@ret_id. Return: as json_line_parse. */
int json_line_parse_answer(const char *line, size_t n, struct msg_sender sender, uint64_t *ret_id,
                           struct msg **ret_msg);

#endif
