/* Writing an object's config. */
#ifndef IPCFS_TOOLS_CTL_CHANGE_H
#define IPCFS_TOOLS_CTL_CHANGE_H

#include "object.h"

/* For parsers: ends the program, for a wrong call, unless each of @args is key=value. */
void change_check_args(char *const *args, int n_args);

/* Sets all of @args, key=value each, at once or not at all. Return: 0; a negative errno, and why was
 * said. */
int change_config(const struct object *object, char *const *args, int n_args);

#endif
