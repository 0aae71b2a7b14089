/* slow_memory LIST FILE-SYSTEM: lists the directory LIST into memory that never comes.
 *
 * The memory is a mapping of a file in a FUSE filesystem that this program, any user, mounts on the directory
 * FILE-SYSTEM in a namespace of its own and serves without ever answering a READ. The kernel holds the lock of
 * LIST meanwhile. Prints a line once getdents waits; ends when its standard input does. */
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILE_ID 2
#define PAGE_BYTES 4096

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);

    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        fail(path);
    close(fd);
}

static void reply(int fuse, const struct fuse_in_header *in, int error, void *data, size_t size)
{
    struct fuse_out_header out = { .len = (uint32_t)(sizeof(out) + size),
                                   .error = error,
                                   .unique = in->unique };
    struct iovec parts[] = { { &out, sizeof(out) }, { data, size } };

    if (writev(fuse, parts, 2) < 0)
        fail("reply");
}

static struct fuse_attr attr(uint64_t id)
{
    bool is_root = id != FILE_ID;

    return (struct fuse_attr){
        .ino = id,
        .mode = is_root ? S_IFDIR | 0755 : S_IFREG | 0644,
        .nlink = 1,
        .size = is_root ? 0 : PAGE_BYTES,
    };
}

static void answer(int fuse, const struct fuse_in_header *in)
{
    struct fuse_init_out init = { .major = 7, .minor = 31, .max_write = 65536 };
    struct fuse_entry_out entry = { .nodeid = FILE_ID, .entry_valid = 1000, .attr = attr(FILE_ID) };
    struct fuse_attr_out attributes = { .attr_valid = 1000, .attr = attr(in->nodeid) };
    struct fuse_open_out opened = { 0 };

    switch (in->opcode) {
    case FUSE_INIT:
        reply(fuse, in, 0, &init, sizeof(init));
        break;
    case FUSE_LOOKUP:
        reply(fuse, in, 0, &entry, sizeof(entry));
        break;
    case FUSE_GETATTR:
        reply(fuse, in, 0, &attributes, sizeof(attributes));
        break;
    case FUSE_OPEN:
        reply(fuse, in, 0, &opened, sizeof(opened));
        break;
    case FUSE_READ:
        /* The memory has been asked for. */
        if (write(STDOUT_FILENO, "waits\n", 6) < 0)
            fail("stdout");
        break;
    case FUSE_FORGET:
    case FUSE_INTERRUPT:
        break;
    default:
        reply(fuse, in, -38, NULL, 0);
    }
}

static _Noreturn void serve(int fuse)
{
    static char request[1 << 20];

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        if (read(fuse, request, sizeof(request)) > 0)
            answer(fuse, (const struct fuse_in_header *)(const void *)request);
    }
}

static int mount_here(const char *path)
{
    uid_t uid = getuid();
    gid_t gid = getgid();
    char text[64];
    int fuse;

    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        fail("unshare");
    put("/proc/self/setgroups", "deny");
    snprintf(text, sizeof(text), "0 %u 1", uid);
    put("/proc/self/uid_map", text);
    snprintf(text, sizeof(text), "0 %u 1", gid);
    put("/proc/self/gid_map", text);
    fuse = open("/dev/fuse", O_RDWR);
    if (fuse < 0)
        fail("/dev/fuse");
    snprintf(text, sizeof(text), "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse);
    if (mount("slow", path, "fuse", MS_NOSUID | MS_NODEV, text) < 0)
        fail("mount");
    return fuse;
}

struct listing {
    const char *dir;
    char *memory;
};

static void *list(void *arg)
{
    const struct listing *listing = arg;
    int fd = open(listing->dir, O_RDONLY | O_DIRECTORY);

    if (fd < 0)
        fail(listing->dir);
    syscall(SYS_getdents64, fd, listing->memory, PAGE_BYTES);
    return NULL;
}

int main(int argc, char **argv)
{
    struct listing listing = { .dir = argv[1] };
    pthread_t lister;
    char path[4096];
    pid_t server;
    int fuse;
    char byte;

    if (argc != 3)
        return 2;
    fuse = mount_here(argv[2]);
    server = fork();
    if (server == 0)
        serve(fuse);
    close(fuse);
    snprintf(path, sizeof(path), "%s/f", argv[2]);
    listing.memory = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, open(path, O_RDWR),
                          0);
    if (listing.memory == MAP_FAILED)
        fail("mmap");
    pthread_create(&lister, NULL, list, &listing);
    pthread_detach(lister);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    kill(server, SIGKILL);
    _exit(0);
}
