/* Calls that wait, but not for ever.
 *
 * A send or receive waits inside write(2), read(2), open(2) or close(2), where it has its turn among
 * all who wait, and a timer's signal ends the call with EINTR: the mailbox has then sent or taken
 * nothing. poll(2) would not do: its POLLOUT promises room for one byte and not for this message, and
 * in a rendezvous (messages=0) two who poll would wait for each other. */
#ifndef IPCFS_TOOLS_CTL_WAIT_H
#define IPCFS_TOOLS_CTL_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#define WAIT_FOREVER INT64_C(-1)

/* Reads a span of time: seconds, with a fraction perhaps, or with ms, s, m or h after it.
 * Return: 0 and *@ret_ns; -EINVAL. */
int wait_parse(const char *text, int64_t *ret_ns);

/* Return: @ns as a person writes it, the caller's to free. */
char *wait_show(int64_t ns);

/* From here on, and after @ns, the calls of this thread that wait end with EINTR, until wait_stop().
 * WAIT_FOREVER: they don't. */
void wait_start(int64_t ns);
void wait_stop(void);

/* Return: whether the time since wait_start() is over. */
bool wait_is_over(void);

#endif
