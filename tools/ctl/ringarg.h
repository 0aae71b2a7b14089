/* The ring that an argument of `ipcctl ring` names: NAME or ring/NAME in the mount, the path of its
 * directory, or the path of a map in a file. */
#ifndef IPCFS_TOOLS_CTL_RINGARG_H
#define IPCFS_TOOLS_CTL_RINGARG_H

#include <stdbool.h>

#include "ctl.h"
#include "object.h"

struct ringarg {
    bool in_mount; /* then object is valid */
    struct object object;
    char *map;   /* the path of the map */
    char *shown; /* for messages */
};

/* Ends the program where @arg can't be a name, or the mount is not found. */
void ringarg_init(struct ringarg *ring, const char *arg, const struct common *common);
void ringarg_deinit(struct ringarg *ring);

/* Says why @doing ("put into") has failed, with a negative errno of libipcring. */
void ringarg_say(const struct ringarg *ring, const char *doing, int r);

#endif
