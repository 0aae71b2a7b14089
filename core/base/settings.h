/* Settings as text: key=value lines, as `config` has them.
 *
 * Context: any thread; nothing but the arguments is touched. */
#ifndef IPCFS_CORE_SETTINGS_H
#define IPCFS_CORE_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

/* The longest value that is written, with its NUL: a name's. */
#define SETTING_VALUE_MAX 256

struct setting {
    const char *key;
    /* Sets it in @object from the @n bytes at @value. Return: 0; -EINVAL. */
    int (*set)(void *object, const char *value, size_t n);
    /* Writes what @object has to @value, ended by NUL. */
    void (*get)(const void *object, char value[SETTING_VALUE_MAX]);
};

/* Sets in @object what the lines of @text say; empty lines say nothing. The last line may lack its
 * newline. Return: 0; -EINVAL: a line without =, an unknown key, a bad value; @object is spoiled. */
int settings_parse(const struct setting *settings, size_t n_settings, void *object,
                   const char *text, size_t n);

/* Writes all of them, a line each, to @text of @max bytes, ended by NUL. Return: the text's length; it fits. */
size_t settings_format(const struct setting *settings, size_t n_settings, const void *object,
                       char *text, size_t max);

/* Return: whether the @n bytes at @text are @word. */
bool settings_equal(const char *text, size_t n, const char *word);

#endif
