/* Settings as text: key=value lines, as `config` has them.
 *
 * Context: any thread; nothing but the arguments is touched. */
#ifndef IPCFS_CORE_SETTINGS_H
#define IPCFS_CORE_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

struct setting {
    const char *key;
    /* Sets it in @object from the @n bytes at @value. Return: 0; -EINVAL. */
    int (*set)(void *object, const char *value, size_t n);
};

/* Sets in @object what the lines of @text say; empty lines say nothing. The last line may lack its
 * newline. Return: 0; -EINVAL: a line without =, an unknown key, a bad value; @object is spoiled. */
int settings_parse(const struct setting *settings, size_t n_settings, void *object,
                   const char *text, size_t n);

/* Return: whether the @n bytes at @text are @word. */
bool settings_equal(const char *text, size_t n, const char *word);

#endif
