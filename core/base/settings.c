#include "settings.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

bool settings_equal(const char *text, size_t n, const char *word)
{
    return n == strlen(word) && memcmp(text, word, n) == 0;
}

static int settings_parse_line(const struct setting *settings, size_t n_settings, void *object,
                               const char *line, size_t n)
{
    const char *equal = memchr(line, '=', n);
    size_t key_length;

    if (!equal)
        return -EINVAL;
    key_length = (size_t)(equal - line);
    for (size_t i = 0; i < n_settings; i++) {
        if (settings_equal(line, key_length, settings[i].key))
            return settings[i].set(object, equal + 1, n - key_length - 1);
    }
    return -EINVAL;
}

int settings_parse(const struct setting *settings, size_t n_settings, void *object,
                   const char *text, size_t n)
{
    const char *end = text + n;

    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        const char *line_end = newline ? newline : end;
        int r = 0;

        if (line_end > text)
            r = settings_parse_line(settings, n_settings, object, text, (size_t)(line_end - text));
        if (r < 0)
            return r;
        text = newline ? newline + 1 : end;
    }
    return 0;
}

size_t settings_format(const struct setting *settings, size_t n_settings, const void *object,
                       char *text, size_t max)
{
    char value[SETTING_VALUE_MAX];
    size_t length = 0;

    for (size_t i = 0; i < n_settings; i++) {
        settings[i].get(object, value);
        length += (size_t)snprintf(text + length, max - length, "%s=%s\n", settings[i].key, value);
        assert(length < max);
    }
    return length;
}
