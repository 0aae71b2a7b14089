/* race SECONDS one|many: a publisher and a sleeper meet at the same moment, again and again.
 *
 * The consumer never spins. The producer waits until it has taken the last message and lets it get on for
 * a random moment, about as long as it takes to announce that it sleeps; then it publishes. Who misses the
 * other sleeps until its own alarm, and that is counted. */
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/fixture.h"

/* From the last message to the flag that says that it sleeps. */
#define DELAY_NS_MAX 400

/* See stress.c. */
#define RESCUES_ALLOWED 2

static void pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof(set), &set);
}

int main(int argc, char **argv)
{
    uint64_t until_ns = now_ns() + strtoull(argc > 1 ? argv[1] : "2", NULL, 10) * 1000000000U;
    bool many = argc > 2 && strcmp(argv[2], "many") == 0;
    atomic_ulong *n_taken = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                                 0);
    uint64_t random = UINT64_C(0x9e3779b97f4a7c15) ^ now_ns();
    struct ipcring_stat stat;
    struct ipcring *ring;
    struct fixture f;
    uint64_t n;
    pid_t pid;
    int status;

    fixture_init(&f, 4, 16, many ? MANY_MANY : ONE_ONE, 0);
    pid = fork();
    ring = fixture_open(&f);
    pin(pid == 0);
    if (pid == 0) {
        ipcring_set_spin(ring, 0);
        for (;;) {
            if (ipcring_consume(ring, &n, 8, IPCRING_FOREVER) != 8)
                _exit(1);
            if (n == UINT64_MAX)
                break;
            atomic_store(n_taken, n + 1);
        }
        ipcring_get_stat(ring, &stat);
        printf("%lu sleeps, %lu rescues\n", (unsigned long)stat.n_sleeps,
               (unsigned long)stat.n_rescues);
        fflush(stdout);
        _exit(stat.n_rescues > RESCUES_ALLOWED);
    }
    for (n = 0; now_ns() < until_ns; n++) {
        uint64_t start_ns;
        uint64_t delay_ns = next_random(&random) % DELAY_NS_MAX;

        while (atomic_load(n_taken) != n)
            ;
        for (start_ns = now_ns(); now_ns() - start_ns < delay_ns;)
            ;
        if (ipcring_try_produce(ring, &n, 8) < 0)
            die("produce");
    }
    n = UINT64_MAX;
    if (ipcring_try_produce(ring, &n, 8) < 0)
        die("produce");
    waitpid(pid, &status, 0);
    ipcring_close(ring);
    fixture_deinit(&f);
    return status != 0;
}
