#include "wait.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include "util.h"

#define NS_PER_S INT64_C(1000000000)

/* A hundred years: as good as for ever, and far from overflow. */
#define MAX_S 3.2e9

/* A signal that arrives just before the call begins would be lost; so it comes again. */
#define AGAIN_US 20000

static volatile sig_atomic_t is_over;

static const struct unit {
    const char *name;
    double seconds;
} units[] = { { "", 1 }, { "ms", 0.001 }, { "s", 1 }, { "m", 60 }, { "h", 3600 } };

int wait_parse(const char *text, int64_t *ret_ns)
{
    char *end;
    double n;

    /* strtod also takes spaces, signs, hexadecimal and words. */
    if (strspn(text, "0123456789.") == 0)
        return -EINVAL;
    n = strtod(text, &end);
    if (end == text || end > text + strspn(text, "0123456789."))
        return -EINVAL;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].name) == 0) {
            n *= units[i].seconds;
            *ret_ns = (int64_t)((n < MAX_S ? n : MAX_S) * (double)NS_PER_S);
            return 0;
        }
    }
    return -EINVAL;
}

char *wait_show(int64_t ns)
{
    return xasprintf("%g s", (double)ns / (double)NS_PER_S);
}

static void wait_on_alarm(int signal_number)
{
    (void)signal_number;
    is_over = 1;
}

void wait_start(int64_t ns)
{
    /* Without SA_RESTART. */
    struct sigaction action = { .sa_handler = wait_on_alarm };
    struct itimerval timer = { .it_interval.tv_usec = AGAIN_US };
    int64_t us = ns / 1000;

    is_over = 0;
    if (ns == WAIT_FOREVER)
        return;
    timer.it_value.tv_sec = us / 1000000;
    timer.it_value.tv_usec = us > 0 ? us % 1000000 : 1;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
}

void wait_stop(void)
{
    setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL);
}

bool wait_is_over(void)
{
    return is_over;
}
