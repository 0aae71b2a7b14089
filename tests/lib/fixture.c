#include "tests/lib/fixture.h"

#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

void fixture_init(struct fixture *f, uint32_t slots, uint32_t slot_bytes, uint32_t flags,
                  uint64_t first_pos)
{
    struct ring_geometry geometry = { slots, slot_bytes, flags };
    int r;

    f->n_bytes = ring_map_bytes(&geometry);
    f->fd = memfd_create("ring", MFD_CLOEXEC);
    if (f->fd < 0 || ftruncate(f->fd, (off_t)f->n_bytes) < 0)
        die("memfd: %m");
    f->map = mmap(NULL, f->n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
    if (f->map == MAP_FAILED)
        die("mmap: %m");
    r = ring_format(f->map, &geometry, first_pos);
    if (r < 0)
        die("ring_format: %s", strerror(-r));
}

void fixture_deinit(struct fixture *f)
{
    munmap(f->map, f->n_bytes);
    close(f->fd);
}

struct ipcring *fixture_open(const struct fixture *f)
{
    struct ipcring *ring;
    int r = ipcring_open_fd(f->fd, &ring);

    if (r < 0)
        die("ipcring_open_fd: %s", strerror(-r));
    return ring;
}

struct ipcring *fixture_attach(const struct fixture *f)
{
    struct ipcring *ring;
    int r = ipcring_attach(f->map, f->n_bytes, &ring);

    if (r < 0)
        die("ipcring_attach: %s", strerror(-r));
    return ring;
}

uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

uint64_t first_pos_near_wrap(unsigned int i, unsigned int order)
{
    switch (i) {
    case 0:
        return 0;
    case 1:
        return (((UINT64_C(1) << 30) - 1) << order) - 3;
    case 2:
        return (UINT64_C(1) << 32) - 3;
    default:
        return UINT64_MAX - 2;
    }
}
