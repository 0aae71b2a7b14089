/* Processes of other pid namespaces than this one's. */
#ifndef IPCFS_CORE_PID_NAMESPACES_H
#define IPCFS_CORE_PID_NAMESPACES_H

#include <stdbool.h>
#include <stdint.h>

/* Return: whether surely no living process claims by @id (ring_abi.h), in whatever pid namespace. Only the
 * first namespace sees all; elsewhere nothing is sure.
 * Context: reads all of /proc, and may block there. */
bool pid_namespaces_lack(uint32_t id);

#endif
