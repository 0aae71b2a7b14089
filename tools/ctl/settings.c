#include "settings.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "util.h"

static void settings_add_line(struct settings *settings, char *line)
{
    char *equals = strchr(line, '=');

    if (!equals)
        return;
    *equals = '\0';
    settings->list = xrealloc(settings->list, settings->n + 1, sizeof(*settings->list));
    settings->list[settings->n++] = (struct setting){ line, equals + 1 };
}

int settings_read(int dir_fd, const char *path, struct settings *ret)
{
    AUTO_CLOSE int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
    struct settings settings = { 0 };
    char *rest;
    char *line;
    size_t n;
    int r;

    if (fd < 0)
        return -errno;
    r = read_all(fd, SIZE_MAX, &settings.text, &n);
    if (r < 0)
        return r;
    settings.text = xrealloc(settings.text, n + 1, 1);
    settings.text[n] = '\0';
    rest = settings.text;
    while ((line = strsep(&rest, "\n")))
        settings_add_line(&settings, line);
    *ret = settings;
    return 0;
}

void settings_deinit(struct settings *settings)
{
    free(settings->list);
    free(settings->text);
    *settings = (struct settings){ 0 };
}

const char *settings_get(const struct settings *settings, const char *key)
{
    for (size_t i = 0; i < settings->n; i++) {
        if (strcmp(settings->list[i].key, key) == 0)
            return settings->list[i].value;
    }
    return NULL;
}

uint64_t settings_number(const struct settings *settings, const char *key)
{
    const char *value = settings_get(settings, key);

    return value ? strtoull(value, NULL, 10) : 0;
}
