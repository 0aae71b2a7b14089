/* ring_peer MAP: maps a ring, prints its pid; then does what lines on stdin say, and answers each with a line:
 * "=MESSAGE", or what the library's call returned. talk_line() has the words. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/lib/ipcring.h"

/* Prints a line to stderr and ends the process with status 1. */
#define die(...) (fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), exit(1))

static void answer_message(const void *message, int r)
{
    if (r < 0)
        printf("%d\n", r);
    else
        printf("=%.*s\n", r, (const char *)message);
}

static void consume_and_answer(struct ipcring *ring, int64_t timeout_ns)
{
    size_t max_bytes = ipcring_message_bytes(ring);
    char *message = malloc(max_bytes);

    if (!message)
        die("out of memory");
    answer_message(message, ipcring_consume(ring, message, max_bytes, timeout_ns));
    free(message);
}

static int commit(struct ipcring *ring, void *reserved, const char *text)
{
    memcpy(reserved, text, strlen(text));
    return ipcring_commit(ring, strlen(text));
}

/* One line: a word, and after a blank what it is about. */
static void talk_line(struct ipcring *ring, const char *word, const char *text)
{
    static void *reserved;
    const void *shown = NULL;
    int r;

    if (strcmp(word, "produce") == 0)
        printf("%d\n", ipcring_produce(ring, text, strlen(text), IPCRING_FOREVER));
    else if (strcmp(word, "try_produce") == 0)
        printf("%d\n", ipcring_try_produce(ring, text, strlen(text)));
    else if (strcmp(word, "consume") == 0)
        consume_and_answer(ring, IPCRING_FOREVER);
    else if (strcmp(word, "try_consume") == 0)
        consume_and_answer(ring, 0);
    else if (strcmp(word, "reserve") == 0)
        printf("%d\n", ipcring_reserve(ring, &reserved, 0));
    else if (strcmp(word, "commit") == 0)
        printf("%d\n", commit(ring, reserved, text));
    else if (strcmp(word, "peek") == 0) {
        r = ipcring_peek(ring, &shown, IPCRING_FOREVER);
        answer_message(shown, r);
    } else if (strcmp(word, "release") == 0)
        printf("%d\n", ipcring_release(ring));
    else
        die("what is '%s'?", word);
    fflush(stdout);
}

static void talk(struct ipcring *ring)
{
    char line[4096];

    printf("%d\n", (int)getpid());
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin)) {
        char *text = line + strcspn(line, " \n");

        line[strcspn(line, "\n")] = '\0';
        if (*text == ' ')
            *text++ = '\0';
        talk_line(ring, line, text);
    }
}

int main(int argc, char **argv)
{
    struct ipcring *ring;
    int r;

    if (argc != 2)
        die("usage: ring_peer MAP");
    r = ipcring_open(argv[1], &ring);
    if (r < 0)
        die("%s: %s", argv[1], strerror(-r));
    ipcring_set_spin(ring, 0);
    talk(ring);
    ipcring_close(ring);
    return 0;
}
