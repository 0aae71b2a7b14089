/* Processes of other pid namespaces than this one's. */
#ifndef IPCFS_CORE_PID_NAMESPACES_H
#define IPCFS_CORE_PID_NAMESPACES_H

#include <stdbool.h>
#include <stdint.h>

/* Looks for the claimers @ids (ring_abi.h) among all processes, in whatever pid namespaces. @is_dead tells of a
 * process of this namespace, by the id that it would have here, whether it is surely dead.
 * @ret_lacks says of each id whether surely no living process claims by it. Only the first namespace sees all;
 * elsewhere nothing is sure.
 * Context: reads all of /proc; waits for @is_dead alone. */
void pid_namespaces_lack(const uint32_t *ids, unsigned int n, bool *ret_lacks,
                         bool (*is_dead)(void *arg, uint32_t id), void *arg);

#endif
