/* A stranger's program: it knows the installed headers and the installed library, nothing else of the
 * project. Formats a ring of its own, produces into it and prints what it consumes. */
#define _GNU_SOURCE /* memfd_create */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <ipcring.h>
#include <ipcring/ring_abi.h>

enum {
    SLOTS = 8,
    SLOT_BYTES = 64,
    MAP_BYTES = IPCRING_AT_SLOT_0 + SLOTS * SLOT_BYTES,
};

static void format(unsigned char *map)
{
    uint64_t slots_offset = IPCRING_AT_SLOT_0, map_bytes = MAP_BYTES, magic = IPCRING_MAGIC;
    uint32_t version = IPCRING_VERSION, slots = SLOTS, slot_bytes = SLOT_BYTES;

    memcpy(map + IPCRING_AT_VERSION, &version, sizeof(version));
    memcpy(map + IPCRING_AT_SLOTS, &slots, sizeof(slots));
    memcpy(map + IPCRING_AT_SLOT_BYTES, &slot_bytes, sizeof(slot_bytes));
    memcpy(map + IPCRING_AT_SLOTS_OFFSET, &slots_offset, sizeof(slots_offset));
    memcpy(map + IPCRING_AT_MAP_BYTES, &map_bytes, sizeof(map_bytes));
    memcpy(map + IPCRING_AT_MAGIC, &magic, sizeof(magic));
}

static int make_map(void)
{
    int fd = memfd_create("ring", MFD_CLOEXEC);
    unsigned char *map;

    if (fd < 0 || ftruncate(fd, MAP_BYTES) < 0)
        err(1, "memfd");
    map = mmap(NULL, MAP_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        err(1, "mmap");
    format(map);
    munmap(map, MAP_BYTES);
    return fd;
}

int main(int argc, char *argv[])
{
    struct ipcring *ring;
    char message[SLOT_BYTES];
    int r = ipcring_open_fd(make_map(), &ring);

    for (int i = 1; r >= 0 && i < argc; i++)
        r = ipcring_try_produce(ring, argv[i], strlen(argv[i]));
    if (r < 0)
        errx(1, "%s", strerror(-r));
    while ((r = ipcring_try_consume(ring, message, sizeof(message))) >= 0)
        printf("%.*s\n", r, message);
    ipcring_close(ring);
    return EXIT_SUCCESS;
}
