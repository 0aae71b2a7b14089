/* For LD_PRELOAD: the nth call of a program that could fail for want of memory, a descriptor or a thread fails.
 *
 * Environment: FAULT_CONTROL, a file that is mapped and shared with whoever makes the faults: struct control. What libc
 * allocates inside other calls counts as well, for it calls malloc(3) by its name. What libfuse allocates to take in a
 * request does not: without it a FORGET or RELEASE is lost, and with that what the kernel held. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

/* glibc's own names of what is interposed here: they need no dlsym(3), which allocates. */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t n);
void *__libc_memalign(size_t alignment, size_t n);

struct control {
    _Atomic uint32_t n_until_fault; /* 0: none */
    _Atomic uint32_t has_faulted;
    /* Where in the program the calls lie that don't count. */
    uint64_t spared_start;
    uint64_t spared_end;
};

static struct control idle;
static struct control *control = &idle;
static uintptr_t program; /* where it is loaded */

/* The first object is the program. */
static int note_program(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    (void)arg;
    program = info->dlpi_addr;
    return 1;
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FAULT_CONTROL");
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
    void *map;

    dl_iterate_phdr(note_program, NULL);
    if (fd < 0)
        return;
    map = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED)
        control = map;
}

static bool is_spared(const void *caller)
{
    uint64_t at = (uintptr_t)caller - program;
    Dl_info info;

    if (at >= control->spared_start && at < control->spared_end)
        return true;
    return dladdr(caller, &info) && info.dli_fname && strstr(info.dli_fname, "libfuse3");
}

/* Return: whether the call that comes from @caller is the one to fail, with @error in errno. */
static bool fails(int error, const void *caller)
{
    uint32_t n = atomic_load(&control->n_until_fault);

    if (n == 0 || is_spared(caller))
        return false;
    while (n > 0 && !atomic_compare_exchange_weak(&control->n_until_fault, &n, n - 1))
        ;
    if (n != 1)
        return false;
    atomic_store(&control->has_faulted, 1);
    errno = error;
    return true;
}

void *malloc(size_t n)
{
    return fails(ENOMEM, __builtin_return_address(0)) ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    return fails(ENOMEM, __builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t n)
{
    return fails(ENOMEM, __builtin_return_address(0)) ? NULL : __libc_realloc(old, n);
}

void *reallocarray(void *old, size_t n, size_t size)
{
    size_t product;

    if (__builtin_mul_overflow(n, size, &product)) {
        errno = ENOMEM;
        return NULL;
    }
    return fails(ENOMEM, __builtin_return_address(0)) ? NULL : __libc_realloc(old, product);
}

void *aligned_alloc(size_t alignment, size_t n)
{
    return fails(ENOMEM, __builtin_return_address(0)) ? NULL : __libc_memalign(alignment, n);
}

int posix_memalign(void **ret_memory, size_t alignment, size_t n)
{
    int error = errno;
    void *memory = NULL;

    if (!fails(ENOMEM, __builtin_return_address(0)))
        memory = __libc_memalign(alignment, n);
    errno = error;
    if (!memory)
        return ENOMEM;
    *ret_memory = memory;
    return 0;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
    int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

    if (fails(EAGAIN, __builtin_return_address(0)))
        return EAGAIN;
    *(void **)&next = dlsym(RTLD_NEXT, "pthread_create");
    return next(thread, attr, run, arg);
}

int memfd_create(const char *name, unsigned int flags)
{
    return fails(EMFILE, __builtin_return_address(0)) ? -1
                                                      : (int)syscall(SYS_memfd_create, name, flags);
}

int eventfd(unsigned int count, int flags)
{
    return fails(EMFILE, __builtin_return_address(0)) ? -1
                                                      : (int)syscall(SYS_eventfd2, count, flags);
}

int openat64(int dir_fd, const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return fails(EMFILE, __builtin_return_address(0))
               ? -1
               : (int)syscall(SYS_openat, dir_fd, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (fails(EMFILE, __builtin_return_address(0)))
        return -1;
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
