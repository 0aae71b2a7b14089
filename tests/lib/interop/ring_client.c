/* A client of rings in C, with libipcring.
 *
 *     ring_client MAP produce [COUNT]    each line of stdin is a message
 *     ring_client MAP consume [COUNT]    prints each message as a line */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/lib/ipcring.h"

static int produce(struct ipcring *ring, uint64_t count)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t n = 0;
    int r = 0;

    while (r == 0 && count-- > 0 && (n = getline(&line, &room, stdin)) > 0) {
        if (line[n - 1] == '\n')
            n--;
        r = ipcring_produce(ring, line, (size_t)n, IPCRING_FOREVER);
    }
    free(line);
    return r;
}

static int consume(struct ipcring *ring, uint64_t count)
{
    size_t room = ipcring_message_bytes(ring);
    char *message = malloc(room + 1);
    int n = 0;

    if (!message)
        return -ENOMEM;
    while (count > 0) {
        n = ipcring_consume(ring, message, room, IPCRING_FOREVER);
        /* Where each consumer sees everything: it was overtaken, and goes on. */
        if (n == -EOVERFLOW)
            continue;
        if (n < 0)
            break;
        count--;
        message[n] = '\n';
        fwrite(message, 1, (size_t)n + 1, stdout);
        fflush(stdout);
    }
    free(message);
    return n < 0 ? n : 0;
}

int main(int argc, char **argv)
{
    uint64_t count = argc > 3 ? strtoull(argv[3], NULL, 10) : UINT64_MAX;
    struct ipcring *ring;
    int r;

    if (argc < 3 || argc > 4 ||
        (strcmp(argv[2], "produce") != 0 && strcmp(argv[2], "consume") != 0)) {
        fputs("usage: ring_client MAP produce|consume [COUNT]\n", stderr);
        return 2;
    }
    r = ipcring_open(argv[1], &ring);
    if (r == 0) {
        r = strcmp(argv[2], "produce") == 0 ? produce(ring, count) : consume(ring, count);
        ipcring_close(ring);
    }
    if (r < 0)
        fprintf(stderr, "%s: %s\n", argv[1], strerror(-r));
    return r < 0;
}
