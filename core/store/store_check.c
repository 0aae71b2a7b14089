/* What is looked at: each key and value, by its checksum; the table of free pages; and that both together have each
 * page of the file once. */
#include "store_check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store_db.h"

/* What the child tells. */
struct finding {
    int result;
    struct store_census census;
    char why[STORE_WHY_MAX];
};

static int damaged(struct finding *finding, const char *what)
{
    snprintf(finding->why, sizeof(finding->why), "it is damaged: %s", what);
    return -EUCLEAN;
}

static int check_info(struct finding *finding, uint64_t which, const MDB_val *key,
                      const MDB_val *value)
{
    uint64_t number;
    const void *text;
    size_t n;

    if (which == STORE_INFO_MOUNT) {
        if (store_bytes_decode(key->mv_data, key->mv_size, value->mv_data, value->mv_size, &text,
                               &n) < 0)
            return damaged(finding, "the mount's id has another checksum");
        return 0;
    }
    if (store_number_decode(key->mv_data, key->mv_size, value->mv_data, value->mv_size, &number) <
        0)
        return damaged(finding, "a number has another checksum");
    if (which != STORE_INFO_VERSION)
        return 0;
    finding->census.version = number;
    if (number <= STORE_FORMAT_VERSION)
        return 0;
    snprintf(finding->why, sizeof(finding->why),
             "it is of version %llu, and this ipcfs knows version %d: use a newer ipcfs",
             (unsigned long long)number, STORE_FORMAT_VERSION);
    return -EPROTONOSUPPORT;
}

/* What is being looked at. */
struct record_look {
    struct finding *finding;
    MDB_txn *txn;
    uint64_t box; /* the last whose messages were met */
    bool is_topic;
};

static int check_message(struct record_look *look, uint64_t box, const MDB_val *key,
                         const MDB_val *value)
{
    struct finding *finding = look->finding;
    struct store_message message;

    if (store_message_decode(key->mv_data, key->mv_size, value->mv_data, value->mv_size, &message) <
        0)
        return damaged(finding, "a message has another checksum");
    if (box != look->box)
        look->is_topic = store_is_topic(look->txn, box);
    look->box = box;
    finding->census.n_messages += look->is_topic ? 0 : 1;
    finding->census.n_message_bytes += message.is_copy ? 0 : message.size_bytes;
    return 0;
}

static int check_box(struct finding *finding, const MDB_val *key, const MDB_val *value)
{
    struct store_name name;

    if (store_name_decode(key->mv_data, key->mv_size, value->mv_data, value->mv_size, &name) < 0)
        return damaged(finding, "a name has another checksum");
    finding->census.n_boxes++;
    finding->census.n_topics += name.kind == STORE_KIND_TOPIC;
    finding->census.n_subscriptions += name.kind == STORE_KIND_SUBSCRIPTION;
    return 0;
}

static int check_record(struct record_look *look, const MDB_val *key, const MDB_val *value)
{
    struct finding *finding = look->finding;
    uint64_t first = 0;
    uint64_t second;
    const void *data;
    size_t n;

    switch (store_key_parse(key->mv_data, key->mv_size, &first, &second)) {
    case STORE_INFO:
        return check_info(finding, first, key, value);
    case STORE_NAME:
        return check_box(finding, key, value);
    case STORE_TO_DO:
        finding->census.n_to_do++;
        __attribute__((fallthrough));
    case STORE_ATTRIBUTES:
    case STORE_CONFIG:
    case STORE_HISTORY:
        if (store_bytes_decode(key->mv_data, key->mv_size, value->mv_data, value->mv_size, &data,
                               &n) < 0)
            return damaged(finding, "a setting has another checksum");
        return 0;
    case STORE_MESSAGE:
        return check_message(look, first, key, value);
    default:
        return damaged(finding, "it has a key of no kind");
    }
}

static int check_records(struct finding *finding, MDB_txn *txn)
{
    struct record_look look = { .finding = finding, .txn = txn };
    MDB_cursor *cursor;
    MDB_val value;
    MDB_val key;
    int r = mdb_cursor_open(txn, STORE_DBI, &cursor);
    int bad = 0;

    if (r != 0)
        return damaged(finding, mdb_strerror(r));
    while (bad == 0 && (r = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0)
        bad = check_record(&look, &key, &value);
    mdb_cursor_close(cursor);
    if (bad < 0)
        return bad;
    return r == MDB_NOTFOUND ? 0 : damaged(finding, mdb_strerror(r));
}

/* A record of LMDB's free pages: a count and as many numbers, each less than the one before. */
static int check_free_pages(struct finding *finding, const MDB_val *value, uint64_t last_page,
                            uint64_t *n)
{
    const size_t *pages = value->mv_data;

    if (value->mv_size < sizeof(*pages) || value->mv_size / sizeof(*pages) - 1 < pages[0])
        return damaged(finding, "its list of free pages is cut short");
    for (size_t i = 1; i <= pages[0]; i++) {
        if (pages[i] < 2 || pages[i] > last_page || (i > 1 && pages[i] >= pages[i - 1]))
            return damaged(finding, "its list of free pages is out of order");
    }
    *n += pages[0];
    return 0;
}

#define CHECK_FREE_DBI 0

static int check_count_free(struct finding *finding, MDB_txn *txn, uint64_t last_page,
                            uint64_t *ret_n)
{
    MDB_cursor *cursor;
    MDB_val value;
    MDB_val key;
    int r = mdb_cursor_open(txn, CHECK_FREE_DBI, &cursor);
    int bad = 0;

    if (r != 0)
        return damaged(finding, mdb_strerror(r));
    while (bad == 0 && (r = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0)
        bad = check_free_pages(finding, &value, last_page, ret_n);
    mdb_cursor_close(cursor);
    if (bad < 0)
        return bad;
    return r == MDB_NOTFOUND ? 0 : damaged(finding, mdb_strerror(r));
}

static uint64_t n_pages_of(const MDB_stat *stat)
{
    return stat->ms_branch_pages + stat->ms_leaf_pages + stat->ms_overflow_pages;
}

/* The two first pages are LMDB's heads. */
#define N_HEAD_PAGES 2

static int check_pages(struct finding *finding, struct store_db *db, MDB_txn *txn)
{
    MDB_envinfo info;
    MDB_stat records;
    MDB_stat free_table;
    uint64_t n_free = 0;
    uint64_t n_used;
    int r;

    if (mdb_env_info(db->env, &info) != 0 || mdb_stat(txn, STORE_DBI, &records) != 0 ||
        mdb_stat(txn, CHECK_FREE_DBI, &free_table) != 0)
        return damaged(finding, "its heads can't be read");
    r = check_count_free(finding, txn, info.me_last_pgno, &n_free);
    if (r < 0)
        return r;
    n_used = N_HEAD_PAGES + n_pages_of(&records) + n_pages_of(&free_table);
    if (n_used + n_free != info.me_last_pgno + 1)
        return damaged(finding, "pages are missing, or have two uses");
    finding->census.n_used_bytes = n_used * db->page_bytes;
    return 0;
}

static int check_look(const char *path, struct finding *finding)
{
    struct store_db db;
    MDB_txn *txn = NULL;
    int r = store_db_open(&db, path, STORE_DB_READ_ONLY);

    if (r == 0)
        r = store_db_read_begin(&db, &txn);
    if (r == -EUCLEAN)
        return damaged(finding, "its head is no database's");
    if (r < 0) {
        snprintf(finding->why, sizeof(finding->why), "can't be read: %s", strerror(-r));
        return r;
    }
    r = check_records(finding, txn);
    if (r == 0)
        r = check_pages(finding, &db, txn);
    store_db_read_end(&db, txn);
    store_db_close(&db);
    return r;
}

static void be_silent_when_killed(void)
{
    const struct rlimit none = { 0, 0 };
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    setrlimit(RLIMIT_CORE, &none);
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    signal(SIGABRT, SIG_DFL);
    if (null_fd >= 0)
        dup2(null_fd, STDERR_FILENO);
}

__attribute__((noreturn)) static void run_child(const char *path, int fd)
{
    struct finding finding = { 0 };

    be_silent_when_killed();
    finding.result = check_look(path, &finding);
    _exit(write(fd, &finding, sizeof(finding)) == sizeof(finding) ? 0 : 1);
}

static int check_fail(char why[STORE_WHY_MAX])
{
    int error = errno;

    snprintf(why, STORE_WHY_MAX, "can't be looked through: %s", strerror(error));
    return -error;
}

int store_check(const char *path, struct store_census *ret_census, char why[STORE_WHY_MAX])
{
    struct finding finding;
    int fds[2];
    ssize_t n;
    pid_t pid;
    int status;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return check_fail(why);
    pid = fork();
    if (pid == 0)
        run_child(path, fds[1]);
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        return check_fail(why);
    }
    n = read(fds[0], &finding, sizeof(finding));
    close(fds[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (n != sizeof(finding)) {
        snprintf(why, STORE_WHY_MAX, "it is damaged: its pages can't be followed");
        return -EUCLEAN;
    }
    snprintf(why, STORE_WHY_MAX, "%s", finding.why);
    *ret_census = finding.census;
    return finding.result;
}
