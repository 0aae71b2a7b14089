/* What carries the kernel's requests to libfuse, which decodes them and calls the handlers, and the answers back.
 *
 * There are two: reads and writes of /dev/fuse (transport_dev.h), and io_uring, where the kernel offers it
 * (transport_uring.h). The exchange begins over /dev/fuse in any case, which also goes on to bring what nobody
 * waits for (FORGET) and interrupts, and to take what the kernel is told without having asked.
 *
 * Life: transport_new() with a session that is mounted; transport_run() serves it, until transport_end() or the
 * kernel ends it; answers to what is still unanswered may be given until transport_free().
 *
 * Context: one in a process: libfuse tells what it calls the session's userdata, which is not ours. */
#ifndef IPCFS_FS_TRANSPORT_H
#define IPCFS_FS_TRANSPORT_H

#include <fuse_lowlevel.h>

enum transport_choice {
    TRANSPORT_AUTO, /* io_uring where it can be had */
    TRANSPORT_URING,
    TRANSPORT_DEV,
};

/* Who is told what becomes of it. */
struct transport_events {
    /* Once: the kernel's requests are being answered. */
    void (*ready)(void *arg);
    /* Before that: one line, without its end, for whoever mounts: why io_uring is not used. */
    void (*notice)(void *arg, const char *line);
    void *arg;
};

struct transport;

/* Makes what will carry @session's requests. @session is mounted, stays its owner's, and is to outlive it.
 * Return: 0; -ENOMEM, or another negative errno. Context: before the first request. */
int transport_new(struct fuse_session *session, enum transport_choice choice,
                  const struct transport_events *events, struct transport **ret_transport);

/* Serves. Return: 0 once it was to end; a negative errno: the connection failed; -EPROTONOSUPPORT: io_uring was
 * asked for and can't be had, which has been noticed. No handler runs any more then.
 * Context: waits. */
int transport_run(struct transport *transport);

/* Has transport_run() return. Context: any thread; never waits. */
void transport_end(struct transport *transport);

/* Frees; ends its threads. Nothing is answered any more. NULL is allowed. */
void transport_free(struct transport *transport);

/* Return: which of them carries requests: "uring" or "dev". Context: any thread. */
const char *transport_name(void);

#endif
