/* What `ipcctl ring` can do. */
#ifndef IPCFS_TOOLS_CTL_RING_H
#define IPCFS_TOOLS_CTL_RING_H

#include "ctl.h"

extern const struct verb verb_ring_dump, verb_ring_put, verb_ring_get;

#endif
