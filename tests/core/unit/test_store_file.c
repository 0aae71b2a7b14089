/* The files of a store: what is refused, what is found again, and how full they get. */
#include "core/store/store_check.h"
#include "core/store/store_db.h"
#include "core/store/store_dir.h"
#include "case.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char top[64];
static char path[128];
static char why[STORE_WHY_MAX];
static struct store_dir dir;

static void set_up(void)
{
    strcpy(top, "/tmp/ipcfs-store.XXXXXX");
    cr_assert(mkdtemp(top));
    snprintf(path, sizeof(path), "%s/store", top);
    dir = STORE_DIR_NONE;
}

static void tear_down(void)
{
    char command[256];

    store_dir_close(&dir);
    snprintf(command, sizeof(command), "rm -rf %s", top);
    cr_assert_eq(system(command), 0);
}

#define STORE_TEST(name) CASE(store_file, name)

static const char *in_store(const char *name)
{
    static char text[256];

    snprintf(text, sizeof(text), "%s/%s", path, name);
    return text;
}

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(in_store(name), "w");

    cr_assert(file);
    fputs(text, file);
    fclose(file);
}

static void open_dir(void)
{
    int r = store_dir_open(&dir, path, why);

    cr_assert_eq(r, 0, "%s", why);
}

static void refused(int error, const char *part)
{
    cr_assert_eq(store_dir_open(&dir, path, why), error, "%s", why);
    cr_assert(strstr(why, part), "%s", why);
    cr_assert_null(strchr(why, '\n'));
}

STORE_TEST(a_missing_directory_is_made_for_its_user_alone)
{
    struct stat attr;

    open_dir();
    cr_assert_eq(stat(path, &attr), 0);
    cr_assert_eq(attr.st_mode & 07777, 0700);
    cr_assert(dir.is_new);
}

STORE_TEST(another_process_is_told_who_has_it)
{
    char expected[64];
    int status;
    pid_t pid;

    open_dir();
    cr_assert_eq(store_dir_enter(&dir), 0);
    snprintf(expected, sizeof(expected), "process %d has it", (int)getpid());
    pid = fork();
    if (pid == 0) {
        struct store_dir other;

        _exit(store_dir_open(&other, path, why) == -EBUSY && strcmp(why, expected) == 0 ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    cr_assert_eq(status, 0);
}

STORE_TEST(a_directory_with_other_files_is_left_alone)
{
    mkdir(path, 0755);
    write_file("letter", "dear");
    refused(-ENOTEMPTY, "no store");
    cr_assert_neq(access(in_store("lock"), F_OK), 0);
}

STORE_TEST(a_symbolic_link_is_refused_wherever_it_is)
{
    char real[128];

    snprintf(real, sizeof(real), "%s/real", top);
    mkdir(real, 0700);
    cr_assert_eq(symlink(real, path), 0);
    refused(-ENOTDIR, "symbolic link");
    unlink(path);
    mkdir(path, 0700);
    cr_assert_eq(symlink("/etc/passwd", in_store("live.mdb")), 0);
    refused(-EPERM, "live.mdb");
}

STORE_TEST(a_newer_version_is_refused)
{
    mkdir(path, 0700);
    write_file("state", "format=9\nsomething=new\n");
    refused(-EPROTONOSUPPORT, "version 9");
}

STORE_TEST(what_the_live_file_is_worth_depends_on_the_machine)
{
    open_dir();
    cr_assert_eq(store_dir_begin(&dir), 0);
    store_dir_close(&dir);
    open_dir();
    cr_assert(dir.is_live_trusted, "killed while the machine went on");
    cr_assert_eq(store_dir_end(&dir), 0);
    store_dir_close(&dir);
    open_dir();
    cr_assert(dir.is_live_trusted, "an orderly end");
    store_dir_close(&dir);
    write_file("state", "format=1\nboot=00000000-0000-0000-0000-000000000000\n");
    open_dir();
    cr_assert_not(dir.is_live_trusted, "the machine's end");
    store_dir_close(&dir);
    write_file("state", "format=1\nboot=00000000-0000-0000-0000-00000000000\n");
    refused(-EUCLEAN, "damaged");
    write_file("state", "format=1\n");
    refused(-EUCLEAN, "damaged");
}

/* One message of @size bytes under (@box, @seq). */
struct work {
    uint64_t box;
    uint64_t seq;
    uint64_t n; /* how many, from seq on */
    size_t size;
    uint64_t remove_from;
    uint64_t n_remove;
};

static char bytes[1 << 20];

static int do_work(MDB_txn *txn, void *arg)
{
    const struct work *work = arg;
    int r = 0;

    for (uint64_t i = 0; r == 0 && i < work->n; i++) {
        struct store_key key = store_key_message(work->box, work->seq + i);
        struct store_message message = {
            .id = work->seq + i, .prio = 3, .uid = 7, .data = bytes, .size_bytes = work->size
        };

        r = store_db_put_message(txn, &key, &message);
    }
    for (uint64_t i = 0; r == 0 && i < work->n_remove; i++) {
        struct store_key key = store_key_message(work->box, work->remove_from + i);

        r = store_db_remove(txn, &key);
    }
    return r;
}

static struct store_db db;

static void open_live(void)
{
    open_dir();
    cr_assert_eq(store_db_open(&db, dir.live_path, STORE_DB_LIVE), 0);
}

static int write_work(struct work work)
{
    int r = store_db_reserve(&db, work.n * work.size, work.n);

    return r < 0 ? r : store_db_write(&db, do_work, &work);
}

static struct store_census census;

STORE_TEST(the_map_grows_by_itself)
{
    open_live();
    for (uint64_t i = 0; i < 50; i++)
        cr_assert_eq(write_work((struct work){ .box = 1, .seq = i, .n = 1, .size = 1 << 20 }), 0);
    store_db_close(&db);
    cr_assert_eq(store_check(in_store("live.mdb"), &census, why), 0, "%s", why);
    cr_assert_eq(census.n_messages, 50);
    cr_assert_eq(census.n_message_bytes, UINT64_C(50) << 20);
}

STORE_TEST(a_steady_flow_does_not_make_it_grow)
{
    struct stat before;
    struct stat after;

    open_live();
    cr_assert_eq(write_work((struct work){ .box = 1, .seq = 0, .n = 100, .size = 100 }), 0);
    cr_assert_eq(stat(in_store("live.mdb"), &before), 0);
    for (uint64_t i = 100; i < 200100; i++)
        cr_assert_eq(write_work((struct work){ .box = 1,
                                               .seq = i,
                                               .n = 1,
                                               .size = 100 + i * 37 % 9000,
                                               .remove_from = i - 100,
                                               .n_remove = 1 }),
                     0);
    cr_assert_eq(stat(in_store("live.mdb"), &after), 0);
    store_db_close(&db);
    cr_assert_eq(store_check(in_store("live.mdb"), &census, why), 0, "%s", why);
    cr_assert_eq(census.n_messages, 100);
    cr_assert_leq(after.st_blocks, before.st_blocks + (4 << 20) / 512);
}

STORE_TEST(a_range_is_removed_and_nothing_beside_it)
{
    struct store_key first = store_key_message(2, 0);
    struct store_key last = store_key_message(2, UINT64_MAX);
    MDB_txn *txn;

    open_live();
    for (uint64_t box = 1; box <= 3; box++)
        cr_assert_eq(write_work((struct work){ .box = box, .n = 1000, .size = 64 }), 0);
    cr_assert_eq(mdb_txn_begin(db.env, NULL, 0, &txn), 0);
    cr_assert_eq(store_db_remove_range(txn, &first, &last), 0);
    cr_assert_eq(mdb_txn_commit(txn), 0);
    store_db_close(&db);
    cr_assert_eq(store_check(in_store("live.mdb"), &census, why), 0, "%s", why);
    cr_assert_eq(census.n_messages, 2000);
}

/* A child writes transactions of two messages and no end, and is killed. */
STORE_TEST(a_killed_writer_leaves_whole_transactions)
{
    for (unsigned int round = 0; round < 20; round++) {
        char rm[200];
        int ready[2];
        uint64_t told;
        pid_t pid;

        snprintf(rm, sizeof(rm), "rm -rf %s", path);
        cr_assert_eq(system(rm), 0);
        cr_assert_eq(pipe(ready), 0);
        pid = fork();
        if (pid == 0) {
            open_live();
            for (uint64_t i = 0;; i += 2) {
                struct work work = { .box = 1, .seq = i, .n = 2, .size = i * 13 % 5000 };

                if (write_work(work) < 0 || write(ready[1], &i, sizeof(i)) != sizeof(i))
                    _exit(1);
            }
        }
        close(ready[1]);
        for (uint64_t n = 0; n < 1 + round * 17; n++)
            cr_assert_eq(read(ready[0], &told, sizeof(told)), sizeof(told));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        while (read(ready[0], &told, sizeof(told)) == sizeof(told))
            ;
        close(ready[0]);
        cr_assert_eq(store_check(in_store("live.mdb"), &census, why), 0, "%s", why);
        cr_assert_eq(census.n_messages % 2, 0);
        cr_assert_geq(census.n_messages, told + 2);
    }
}

static void damage(off_t offset)
{
    int fd = open(in_store("live.mdb"), O_RDWR);
    unsigned char byte;

    cr_assert_eq(pread(fd, &byte, 1, offset), 1);
    byte ^= 0x55;
    cr_assert_eq(pwrite(fd, &byte, 1, offset), 1);
    close(fd);
}

/* Bytes that nothing uses may differ unseen; whatever is told to be sound can be read. */
STORE_TEST(damage_is_told_and_never_ends_the_one_who_looks)
{
    unsigned int n_seen = 0;

    open_live();
    cr_assert_eq(write_work((struct work){ .box = 1, .n = 300, .size = 3000 }), 0);
    cr_assert_eq(write_work((struct work){ .box = 1, .n_remove = 10 }), 0);
    store_db_close(&db);
    for (off_t offset = 0; offset < 1 << 20; offset += 4096 + 40) {
        damage(offset);
        n_seen += store_check(in_store("live.mdb"), &census, why) < 0;
        damage(offset);
    }
    cr_assert_eq(store_check(in_store("live.mdb"), &census, why), 0, "%s", why);
    cr_assert_gt(n_seen, 100, "%u", n_seen);
}

STORE_TEST(a_file_that_was_cut_is_damaged)
{
    open_live();
    cr_assert_eq(write_work((struct work){ .box = 1, .n = 300, .size = 3000 }), 0);
    store_db_close(&db);
    cr_assert_eq(truncate(in_store("live.mdb"), 65536), 0);
    cr_assert_eq(store_check(in_store("live.mdb"), &census, why), -EUCLEAN);
}

/* A full filesystem: nothing is lost, what there is can be removed, and then there is room again. */
STORE_TEST(a_full_filesystem_refuses_and_can_be_emptied)
{
    char command[300];
    uint64_t n = 0;
    uint64_t n_left;
    int r;

    mkdir(path, 0700);
    snprintf(command, sizeof(command), "mount -t tmpfs -o size=4m,mode=0700 tmpfs %s 2>/dev/null",
             path);
    if (geteuid() != 0 || system(command) != 0)
        cr_skip_test("can't mount a tmpfs");
    open_live();
    while ((r = write_work((struct work){ .box = 1, .seq = n, .n = 1, .size = 1000 })) == 0)
        n++;
    cr_assert_eq(r, -ENOSPC);
    cr_assert_gt(n, 1000);
    for (uint64_t i = 0; i < n; i++)
        cr_assert_eq(write_work((struct work){ .box = 1, .remove_from = i, .n_remove = 1 }), 0);
    for (n_left = 0; n_left < n; n_left++) {
        if (write_work((struct work){ .box = 1, .seq = n_left, .n = 1, .size = 1000 }) < 0)
            break;
    }
    cr_assert_gt(n_left, n * 9 / 10);
    store_db_close(&db);
    r = store_check(in_store("live.mdb"), &census, why);
    store_dir_close(&dir);
    snprintf(command, sizeof(command), "umount -l %s", path);
    cr_assert_eq(system(command), 0);
    cr_assert_eq(r, 0, "%s", why);
    cr_assert_eq(census.n_messages, n_left);
}
