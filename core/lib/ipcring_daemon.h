/* What only the daemon wants of libipcring: not exported.
 *
 * A handle is used by one thread at a time, as in ipcring.h. */
#ifndef IPCFS_CORE_LIB_IPCRING_DAEMON_H
#define IPCFS_CORE_LIB_IPCRING_DAEMON_H

#include <stdint.h>

struct ipcring;

/* From now on @ring judges nobody: that may block, and its user must not. And where much is to be skipped it
 * says -EAGAIN when it has skipped some of it: there is more to do. Context: never blocks. */
void ipcring_be_brief(struct ipcring *ring);

/* Gives back the role of the one producer or consumer, to whoever comes next. Context: never blocks. */
void ipcring_leave_roles(struct ipcring *ring);

/* Where each sees everything: @ring, whose user reads for several consumers, goes on at @pos, and tells where it is, and
 * where one that comes now begins.
 * Return: a position. Context: never block. */
void ipcring_seek(struct ipcring *ring, uint64_t pos);
uint64_t ipcring_position(const struct ipcring *ring);
uint64_t ipcring_begin(const struct ipcring *ring);

#endif
