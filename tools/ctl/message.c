#include "message.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "quote.h"
#include "settings.h"

/* Where that can't be known there is no limit. Return: 0; -ENOENT: @object is not there. */
static int find_limit(const struct object *object, size_t *ret_max_bytes)
{
    AUTO_FREE char *path = object_file(object, "config");
    struct settings config = { 0 };
    int r = settings_read(AT_FDCWD, path, &config);
    uint64_t n = settings_number(&config, object->room == ROOM_RING ? "slot_bytes" : "bytes");

    settings_deinit(&config);
    *ret_max_bytes = n ? n : SIZE_MAX;
    return r == -ENOENT ? r : 0;
}

int message_read(struct message *message, const struct object *object, const char *text,
                 const char *file)
{
    AUTO_CLOSE int fd = -1;
    size_t max_bytes;
    int r;

    if (text) {
        *message = (struct message){ text, strlen(text), NULL };
        return 0;
    }
    r = find_limit(object, &max_bytes);
    if (r < 0)
        return r;
    fd = file && strcmp(file, "-") != 0 ? open(file, O_RDONLY | O_CLOEXEC)
                                        : fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    r = fd < 0 ? -errno : read_all(fd, max_bytes, &message->owned, &message->n_bytes);
    if (r < 0 && r != -EFBIG) {
        AUTO_FREE char *shown = file ? quote(file, true) : xstrdup("standard input");

        die(EXIT_STATUS_FAILED, "can't read %s: %s; nothing was sent", shown, strerror(-r));
    }
    message->data = message->owned;
    return r;
}

void message_deinit(struct message *message)
{
    free(message->owned);
    *message = (struct message){ 0 };
}
