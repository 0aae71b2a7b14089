/* A way to ask and to answer, as ipcfs-call measures it. Whatever goes wrong ends the program: there is nothing to measure then. */
#ifndef TESTS_BENCH_CALL_KIND_H
#define TESTS_BENCH_CALL_KIND_H

#include <stddef.h>

#define CALL_BYTES_MAX 65536

/* Of D-Bus. */
#define CALL_PATH "/calc"
#define CALL_INTERFACE "org.example.Calc"
#define CALL_METHOD "Echo"

struct call_kind {
    const char *name;
    /* In the server's process: gets ready, and says so (call_say_ready) on @ready; answers for ever. */
    void (*serve)(const char *where, size_t n_bytes, int ready);
    /* In an asker's, when the server is ready, which said @greeting. */
    void (*connect)(const char *where, const char *greeting);
    /* Asks @question, and puts the answer, of as many bytes, into @ret_answer. */
    void (*call)(const char *question, size_t n_bytes, char *ret_answer);
};

/* The client libraries of D-Bus, where they are installed. */
extern const struct call_kind call_libdbus;
extern const struct call_kind call_sdbus;
extern const struct call_kind call_gdbus;

__attribute__((noreturn)) void call_fail(const char *what);

/* @greeting is what callers need to know: fewer than 64 bytes. */
void call_say_ready(int ready, const char *greeting);

#endif
