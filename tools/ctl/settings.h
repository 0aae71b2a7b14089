/* Files of key=value lines: config and stat. */
#ifndef IPCFS_TOOLS_CTL_SETTINGS_H
#define IPCFS_TOOLS_CTL_SETTINGS_H

#include <stddef.h>
#include <stdint.h>

struct setting {
    const char *key;
    const char *value;
};

struct settings {
    char *text; /* what the list points into */
    struct setting *list;
    size_t n;
};

/* Reads the file at @path, relative to @dir_fd. Return: 0, and @ret is to be deinitialized; a negative
 * errno. */
int settings_read(int dir_fd, const char *path, struct settings *ret);
void settings_deinit(struct settings *settings);

/* Return: the value of @key; NULL: there is none. */
const char *settings_get(const struct settings *settings, const char *key);

/* Return: the value of @key as a number; 0: it has none. */
uint64_t settings_number(const struct settings *settings, const char *key);

#endif
