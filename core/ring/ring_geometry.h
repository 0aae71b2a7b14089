/* A ring's geometry as text: the key=value lines of its `config`.
 *
 * Context: any thread; nothing but the arguments is touched. */
#ifndef IPCFS_CORE_RING_GEOMETRY_H
#define IPCFS_CORE_RING_GEOMETRY_H

#include <stddef.h>

#include "ring.h"

/* Long enough for any text of ring_geometry_format. */
#define RING_CONFIG_MAX 128

/* Takes the settings in @text into @geometry; keys that are not named stay. Whether they go together ring_geometry_check() says.
 * Return: 0; -EINVAL, and @geometry is spoiled. */
int ring_geometry_parse(struct ring_geometry *geometry, const char *text, size_t n);

/* Writes the text form, ended by NUL. Return: its length. */
size_t ring_geometry_format(const struct ring_geometry *geometry, char text[RING_CONFIG_MAX]);

#endif
