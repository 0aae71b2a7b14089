/* The program that runs a file's tests where there is no Criterion. Arguments, which are Criterion's, are not
 * looked at. */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct plain_test *first;
static struct plain_test **last = &first;
static bool failed;

void plain_add(struct plain_test *test)
{
    *last = test;
    last = &test->next;
}

void plain_fail(const char *file, int line, const char *condition, const char *format, ...)
{
    va_list args;

    failed = true;
    fprintf(stderr, "%s:%d: not so: %s", file, line, condition);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

void plain_abort(void)
{
    _exit(1);
}

static const struct plain_test *suite_of(const struct plain_test *test)
{
    static const struct plain_test none;

    for (const struct plain_test *suite = first; suite; suite = suite->next)
        if (!suite->name && strcmp(suite->suite, test->suite) == 0)
            return suite;
    return &none;
}

static void call(void (*fn)(void))
{
    if (fn)
        fn();
}

static _Noreturn void run(const struct plain_test *test)
{
    const struct plain_options *of_suite = &suite_of(test)->options;

    call(of_suite->init);
    call(test->options.init);
    test->fn();
    call(test->options.fini);
    call(of_suite->fini);
    exit(failed);
}

/* Return: whether @test passed. */
static bool run_apart(const struct plain_test *test)
{
    int status = -1;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0)
        run(test);
    if (pid > 0)
        waitpid(pid, &status, 0);
    if (WIFSIGNALED(status))
        fprintf(stderr, "%s::%s: %s\n", test->suite, test->name, strsignal(WTERMSIG(status)));
    return status == 0;
}

int main(void)
{
    unsigned int n = 0;
    unsigned int n_failed = 0;

    for (const struct plain_test *test = first; test; test = test->next) {
        bool passed;

        if (!test->name)
            continue;
        passed = run_apart(test);
        n++;
        n_failed += !passed;
        printf("%sok %u - %s::%s\n", passed ? "" : "not ", n, test->suite, test->name);
    }
    printf("1..%u\n", n);
    return n_failed > 0;
}
