/* What bench compares a mount with: the kernel's own ways between two processes. Each is one row of its table of transports
 * (bench_transport.c); bench_channel.h says what their functions do. */
#ifndef IPCFS_TOOLS_CTL_BENCH_PEERS_H
#define IPCFS_TOOLS_CTL_BENCH_PEERS_H

#include "bench_channel.h"

extern const struct transport peer_posix_queue;
extern const struct transport peer_sysv_queue;
extern const struct transport peer_pipe;
extern const struct transport peer_datagram;
extern const struct transport peer_seqpacket;
extern const struct transport peer_shm_eventfd; /* a ring in /dev/shm, whose reader sleeps */
extern const struct transport peer_shm;         /* a ring in /dev/shm, whose ends spin */

#endif
