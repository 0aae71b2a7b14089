#include "fd.h"

#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

/* Each thread that answers requests reads two files of /proc at once at most. */
#define N_SPARE_MAX 64

/* Return: up to where descriptors may be kept. */
static rlim_t kept_max(void)
{
    struct rlimit limit;
    rlim_t n_spare;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return RLIM_INFINITY;
    n_spare = limit.rlim_cur / 4 < N_SPARE_MAX ? limit.rlim_cur / 4 : N_SPARE_MAX;
    return limit.rlim_cur - n_spare;
}

int fd_keep(int fd)
{
    if (fd < 0)
        return errno == EMFILE ? -ENFILE : -errno;
    /* The kernel gives the lowest that is free. */
    if ((rlim_t)fd < kept_max())
        return fd;
    close(fd);
    return -ENFILE;
}
