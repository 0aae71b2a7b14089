/* ring_file make PATH SLOTS SLOT_BYTES FLAGS WRAP: a ring in a file, positions near wrap WRAP (fixture.h).
 * ring_file end PATH: ends it. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/fixture.h"

static void *map_file(const char *path, size_t n_bytes)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *map;

    if (fd < 0 || ftruncate(fd, (off_t)n_bytes) < 0)
        die("%s: %m", path);
    map = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        die("%s: %m", path);
    return map;
}

static void *map_existing(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        die("%s: %m", path);
    return map_file(path, (size_t)st.st_size);
}

static unsigned int order_of(uint32_t slots)
{
    return (unsigned int)__builtin_ctz(slots);
}

static void make(const char *path, char **args)
{
    struct ring_geometry geometry = {
        .slots = (uint32_t)atoi(args[0]),
        .slot_bytes = (uint32_t)atoi(args[1]),
        .flags = (uint32_t)atoi(args[2]),
    };
    uint64_t first_pos = first_pos_near_wrap((unsigned int)atoi(args[3]), order_of(geometry.slots));

    if (ring_format(map_file(path, ring_map_bytes(&geometry)), &geometry, first_pos) < 0)
        die("no such ring");
}

int main(int argc, char **argv)
{
    if (argc == 7 && strcmp(argv[1], "make") == 0)
        make(argv[2], argv + 3);
    else if (argc == 3 && strcmp(argv[1], "end") == 0)
        ring_end(map_existing(argv[2]));
    else
        die("see the source");
    return 0;
}
