#include "fault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The linker's names: __real_NAME is what was there, __wrap_NAME what is called instead. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t n);
void *__real_reallocarray(void *old, size_t n, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t n);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t n);
FILE *__real_open_memstream(char **text, size_t *n);
void __real_free(void *memory);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg);
int __real_memfd_create(const char *name, unsigned int flags);
void *__real_mmap64(void *at, size_t n, int protection, int flags, int fd, off_t offset);
int __real_open64(const char *path, int flags, ...);
int __real_openat64(int dir_fd, const char *path, int flags, ...);
long __real_syscall(long number, ...);

static atomic_uint n_until_fault; /* 0: disarmed, or it has been */
static atomic_bool has_faulted;
static atomic_uint n_live;

void fault_arm(unsigned int nth)
{
    atomic_store(&has_faulted, false);
    atomic_store(&n_until_fault, nth);
}

bool fault_disarm(void)
{
    atomic_store(&n_until_fault, 0);
    return atomic_load(&has_faulted);
}

unsigned int fault_n_live(void)
{
    return atomic_load(&n_live);
}

/* Return: how many entries @path has. */
static unsigned int count_entries(const char *path)
{
    DIR *dir = opendir(path);
    unsigned int n = 0;

    if (!dir)
        abort();
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

unsigned int fault_n_descriptors(void)
{
    return count_entries("/proc/self/fd");
}

unsigned int fault_n_threads(void)
{
    return count_entries("/proc/self/task");
}

/* Return: whether this call is the one to fail, with @error in errno. */
static bool fails(int error)
{
    unsigned int n = atomic_load(&n_until_fault);

    while (n > 0 && !atomic_compare_exchange_weak(&n_until_fault, &n, n - 1))
        ;
    if (n != 1)
        return false;
    atomic_store(&has_faulted, true);
    errno = error;
    return true;
}

static void *counted(void *memory)
{
    if (memory)
        atomic_fetch_add(&n_live, 1);
    return memory;
}

void *__wrap_malloc(size_t n)
{
    return fails(ENOMEM) ? NULL : counted(__real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails(ENOMEM) ? NULL : counted(__real_calloc(n, size));
}

void *__wrap_realloc(void *old, size_t n)
{
    if (fails(ENOMEM))
        return NULL;
    return old ? __real_realloc(old, n) : counted(__real_realloc(NULL, n));
}

void *__wrap_reallocarray(void *old, size_t n, size_t size)
{
    if (fails(ENOMEM))
        return NULL;
    return old ? __real_reallocarray(old, n, size) : counted(__real_reallocarray(NULL, n, size));
}

void *__wrap_aligned_alloc(size_t alignment, size_t n)
{
    return fails(ENOMEM) ? NULL : counted(__real_aligned_alloc(alignment, n));
}

char *__wrap_strdup(const char *text)
{
    return fails(ENOMEM) ? NULL : counted(__real_strdup(text));
}

char *__wrap_strndup(const char *text, size_t n)
{
    return fails(ENOMEM) ? NULL : counted(__real_strndup(text, n));
}

/* What asprintf(3) is made of. */
__attribute__((format(printf, 2, 0))) int __wrap_vasprintf(char **ret_text, const char *format,
                                                           va_list args)
{
    int n;

    if (fails(ENOMEM))
        return -1;
    n = vasprintf(ret_text, format, args);
    if (n >= 0)
        counted(*ret_text);
    return n;
}

__attribute__((format(printf, 2, 3))) int __wrap_asprintf(char **ret_text, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = __wrap_vasprintf(ret_text, format, args);
    va_end(args);
    return n;
}

/* The text counts from here on, though it is only there after fclose(3). */
FILE *__wrap_open_memstream(char **text, size_t *n)
{
    FILE *stream = fails(ENOMEM) ? NULL : __real_open_memstream(text, n);

    if (stream)
        atomic_fetch_add(&n_live, 1);
    return stream;
}

void __wrap_free(void *memory)
{
    if (memory)
        atomic_fetch_sub(&n_live, 1);
    __real_free(memory);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg)
{
    return fails(EAGAIN) ? EAGAIN : __real_pthread_create(thread, attr, run, arg);
}

int __wrap_memfd_create(const char *name, unsigned int flags)
{
    return fails(EMFILE) ? -1 : __real_memfd_create(name, flags);
}

void *__wrap_mmap64(void *at, size_t n, int protection, int flags, int fd, off_t offset)
{
    return fails(ENOMEM) ? MAP_FAILED : __real_mmap64(at, n, protection, flags, fd, offset);
}

int __wrap_open64(const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return fails(EMFILE) ? -1 : __real_open64(path, flags, mode);
}

int __wrap_openat64(int dir_fd, const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return fails(EMFILE) ? -1 : __real_openat64(dir_fd, path, flags, mode);
}

/* Whether it takes a descriptor. */
static bool opens(long number)
{
    return number == SYS_pidfd_open || number == SYS_memfd_create;
}

/* Takes as many arguments as any has, as syscall(2) itself does, though fewer may have been given. */
__attribute__((no_sanitize("address"))) long __wrap_syscall(long number, ...)
{
    long arg[6];
    va_list args;

    va_start(args, number);
    for (unsigned int i = 0; i < 6; i++)
        arg[i] = va_arg(args, long);
    va_end(args);
    if (opens(number) && fails(EMFILE))
        return -1;
    return __real_syscall(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}
