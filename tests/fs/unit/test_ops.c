/* The handlers, asked as the kernel asks, by a kernel that does not take every answer: a request
 * can be gone by the time that it is answered (ENOENT), and what the answer carried must not be. */
#include "fs/mount.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define ANSWER_MAX 8192

/* What came back for one request. */
struct answer {
    bool given;
    int error;
    size_t size;
    char data[ANSWER_MAX];
};

static struct fs fs;
static struct fuse_session *session;
static int kernel_fd = -1; /* where libfuse believes the kernel to be */
static uint64_t last_unique;
/* By the request's number. */
static struct answer answers[64];
/* The next answer to this request fails; 0: none does. */
static uint64_t failing_unique;

static ssize_t take_answer(const struct iovec *iov, int n)
{
    const struct fuse_out_header *header = iov[0].iov_base;
    struct answer *answer = &answers[header->unique];

    if (header->unique == failing_unique) {
        failing_unique = 0;
        errno = ENOENT;
        return -1;
    }
    cr_assert_not(answer->given, "request %zu was answered twice", (size_t)header->unique);
    answer->given = true;
    answer->error = header->error;
    for (int i = 1; i < n; i++) {
        cr_assert_leq(answer->size + iov[i].iov_len, sizeof(answer->data));
        memcpy(answer->data + answer->size, iov[i].iov_base, iov[i].iov_len);
        answer->size += iov[i].iov_len;
    }
    return header->len;
}

/* In libc's place: libfuse answers through it. */
ssize_t writev(int fd, const struct iovec *iov, int n)
{
    return fd == kernel_fd ? take_answer(iov, n) : syscall(SYS_writev, fd, iov, n);
}

/* Asks; what follows the header is @arg and then @data. Return: the request's number. */
static uint64_t ask(uint32_t opcode, uint64_t nodeid, const void *arg, size_t arg_size,
                    const void *data, size_t size)
{
    struct fuse_in_header header = {
        .len = (uint32_t)(sizeof(header) + arg_size + size),
        .opcode = opcode,
        .unique = ++last_unique,
        .nodeid = nodeid,
        .pid = (uint32_t)getpid(),
    };
    /* libfuse's worker reads into a buffer of its own, longer than any request. */
    char *request = calloc(1, ANSWER_MAX);
    struct fuse_buf buf = { .mem = request, .size = header.len };

    cr_assert_leq(header.len, ANSWER_MAX);
    memcpy(request, &header, sizeof(header));
    if (arg_size > 0)
        memcpy(request + sizeof(header), arg, arg_size);
    if (size > 0)
        memcpy(request + sizeof(header) + arg_size, data, size);
    fuse_session_process_buf(session, &buf);
    free(request);
    return header.unique;
}

static uint64_t ask_name(uint32_t opcode, uint64_t nodeid, const char *name)
{
    return ask(opcode, nodeid, name, strlen(name) + 1, NULL, 0);
}

static const struct answer *answer_to(uint64_t unique)
{
    cr_assert(answers[unique].given, "request %zu was not answered", (size_t)unique);
    return &answers[unique];
}

/* The answer that can't be delivered is that to the next request. */
static void fail_next(void)
{
    failing_unique = last_unique + 1;
}

static uint64_t lookup(uint64_t dir, const char *name)
{
    const struct answer *answer = answer_to(ask_name(FUSE_LOOKUP, dir, name));

    cr_assert_eq(answer->error, 0, "lookup of %s", name);
    return ((const struct fuse_entry_out *)answer->data)->nodeid;
}

static uint64_t make_box(void)
{
    struct fuse_mkdir_in arg = { .mode = 0755 };
    uint64_t dir = lookup(FUSE_ROOT_ID, "mbox");
    const struct answer *answer = answer_to(
        ask(FUSE_MKDIR, dir, &arg, sizeof(arg), "box", sizeof("box")));

    cr_assert_eq(answer->error, 0);
    return ((const struct fuse_entry_out *)answer->data)->nodeid;
}

static uint64_t ask_open(uint64_t node, uint32_t flags)
{
    struct fuse_open_in arg = { .flags = flags };

    return ask(FUSE_OPEN, node, &arg, sizeof(arg), NULL, 0);
}

static uint64_t open_file(uint64_t box, const char *name, uint32_t flags)
{
    const struct answer *answer = answer_to(ask_open(lookup(box, name), flags));

    cr_assert_eq(answer->error, 0);
    return ((const struct fuse_open_out *)answer->data)->fh;
}

static uint64_t ask_write(uint64_t fh, const char *text, uint32_t flags)
{
    struct fuse_write_in arg = { .fh = fh, .size = (uint32_t)strlen(text), .flags = flags };

    return ask(FUSE_WRITE, FUSE_ROOT_ID, &arg, sizeof(arg), text, strlen(text));
}

static uint64_t ask_read(uint64_t fh, uint32_t size, uint64_t offset, uint32_t flags)
{
    struct fuse_read_in arg = {
        .fh = fh,
        .size = size,
        .offset = offset,
        .flags = flags,
        .read_flags = FUSE_READ_LOCKOWNER,
        .lock_owner = 1,
    };

    return ask(FUSE_READ, FUSE_ROOT_ID, &arg, sizeof(arg), NULL, 0);
}

static void send_text(uint64_t fh, const char *text)
{
    cr_assert_eq(answer_to(ask_write(fh, text, O_WRONLY))->error, 0);
}

static void expect_read(uint64_t unique, const char *text)
{
    const struct answer *answer = answer_to(unique);

    cr_assert_eq(answer->error, 0);
    cr_assert_eq(answer->size, strlen(text), "expected '%s', got %zu bytes", text, answer->size);
    cr_assert_arr_eq(answer->data, text, strlen(text));
}

static void start(void)
{
    static char name[] = "test";
    static char *argv[] = { name, NULL };
    struct fuse_args args = FUSE_ARGS_INIT(1, argv);
    struct fs_options options = { .max_bytes = 1 << 20, .uid_bytes = 1 << 20 };
    char path[32];
    struct fuse_init_in init = { .major = FUSE_KERNEL_VERSION,
                                 .minor = 31,
                                 .flags = FUSE_BIG_WRITES };

    cr_assert_eq(fs_init(&fs, &options), 0);
    session = fuse_session_new(&args, &kernel_ops, sizeof(kernel_ops), &fs.kernel);
    cr_assert(session);
    fuse_opt_free_args(&args);
    kernel_fd = open("/dev/null", O_RDWR);
    snprintf(path, sizeof(path), "/dev/fd/%d", kernel_fd);
    cr_assert_eq(fuse_session_mount(session, path), 0);
    cr_assert_eq(answer_to(ask(FUSE_INIT, 0, &init, sizeof(init), NULL, 0))->error, 0);
    cr_assert_eq(deferred_start(&fs.kernel.deferred), 0);
}

static void stop(void)
{
    fs_deinit(&fs);
    fuse_session_destroy(session);
}

/* Each starts with a mailbox, and its send and recv open. */
struct fixture {
    uint64_t box;
    uint64_t send;
    uint64_t recv;
};

#define OPS_TEST(name)                                                                             \
    static void run_##name(const struct fixture *f);                                               \
    Test(ops, name)                                                                                \
    {                                                                                              \
        struct fixture f;                                                                          \
                                                                                                   \
        start();                                                                                   \
        f.box = make_box();                                                                        \
        f.send = open_file(f.box, "send", O_WRONLY);                                               \
        f.recv = open_file(f.box, "recv", O_RDONLY);                                               \
        run_##name(&f);                                                                            \
        stop();                                                                                    \
    }                                                                                              \
    static void run_##name(const struct fixture *f)

OPS_TEST(a_message_that_did_not_arrive_is_received_again)
{
    uint64_t unique;

    send_text(f->send, "one");
    send_text(f->send, "two");
    fail_next();
    unique = ask_read(f->recv, 100, 0, O_RDONLY);
    cr_assert_not(answers[unique].given);
    expect_read(ask_read(f->recv, 100, 0, O_RDONLY), "one");
    expect_read(ask_read(f->recv, 100, 0, O_RDONLY), "");
    expect_read(ask_read(f->recv, 100, 0, O_RDONLY), "");
    expect_read(ask_read(open_file(f->box, "recv", O_RDONLY), 100, 0, O_RDONLY), "two");
}

OPS_TEST(a_packet_that_did_not_arrive_is_received_again)
{
    send_text(f->send, "one");
    fail_next();
    ask_read(f->recv, 100, 0, O_RDONLY | O_DIRECT);
    expect_read(ask_read(f->recv, 100, 0, O_RDONLY | O_DIRECT), "one");
}

OPS_TEST(a_message_that_a_waiting_reader_did_not_get_goes_to_the_next)
{
    uint64_t other = open_file(f->box, "recv", O_RDONLY);
    uint64_t first = ask_read(f->recv, 100, 0, O_RDONLY);
    uint64_t second = ask_read(other, 100, 0, O_RDONLY);

    failing_unique = first;
    send_text(f->send, "one");
    cr_assert_not(answers[first].given);
    expect_read(second, "one");
}

OPS_TEST(the_rest_of_a_message_that_did_not_arrive_is_read_again)
{
    send_text(f->send, "abcdef");
    expect_read(ask_read(f->recv, 2, 0, O_RDONLY), "ab");
    fail_next();
    ask_read(f->recv, 2, 0, O_RDONLY);
    expect_read(ask_read(f->recv, 2, 0, O_RDONLY), "cd");
    expect_read(ask_read(f->recv, 100, 0, O_RDONLY), "ef");
    expect_read(ask_read(f->recv, 100, 0, O_RDONLY), "");
}

OPS_TEST(the_later_part_of_a_split_read_does_not_end_the_message)
{
    send_text(f->send, "abcd");
    send_text(f->send, "next");
    expect_read(ask_read(f->recv, 4, 0, O_RDONLY), "abcd");
    expect_read(ask_read(f->recv, 4, 4, O_RDONLY), "");
    expect_read(ask_read(f->recv, 4, 0, O_RDONLY), "");
    expect_read(ask_read(f->recv, 4, 0, O_RDONLY), "");
    expect_read(ask_read(f->recv, 4, 0, O_RDONLY | O_DIRECT), "next");
}

/* Such a read names nobody, and who gets what it brings may be another, or no one. */
OPS_TEST(what_is_read_for_the_page_cache_takes_no_message)
{
    static const char *const names[] = { "recv", "recv.lines", "recv.json" };

    send_text(f->send, "message");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct fuse_read_in arg = {
            .fh = open_file(f->box, names[i], O_RDONLY),
            .size = 4096,
            .flags = O_RDONLY,
        };

        cr_assert_eq(answer_to(ask(FUSE_READ, FUSE_ROOT_ID, &arg, sizeof(arg), NULL, 0))->error,
                     -EINVAL);
    }
    expect_read(ask_read(f->recv, 100, 0, O_RDONLY), "message");
}

static int send_at(uint64_t send, uint64_t offset, uint32_t size)
{
    static const char data[256] = { 0 };
    struct fuse_write_in arg = { .fh = send, .size = size, .offset = offset, .flags = O_WRONLY };

    return answer_to(ask(FUSE_WRITE, FUSE_ROOT_ID, &arg, sizeof(arg), data, size))->error;
}

OPS_TEST(the_later_part_of_a_split_write_is_refused)
{
    cr_assert_eq(send_at(f->send, 0, 256), 0);
    cr_assert_eq(send_at(f->send, 256, 3), -EMSGSIZE);
    cr_assert_eq(answer_to(ask_read(f->recv, 256, 0, O_RDONLY | O_NONBLOCK))->error, 0);
    cr_assert_eq(answer_to(ask_read(f->recv, 256, 0, O_RDONLY | O_NONBLOCK))->size, 0);
}

/* As splice has it. */
OPS_TEST(an_offset_behind_what_was_not_split_means_nothing)
{
    cr_assert_eq(send_at(f->send, 0, 255), 0);
    cr_assert_eq(send_at(f->send, 255, 255), 0);
    cr_assert_eq(send_at(f->send, 510, 3), 0);
}

static unsigned int n_nodes(void)
{
    return nodes_count(&fs.kernel.nodes);
}

OPS_TEST(a_lookup_that_did_not_arrive_does_not_count)
{
    unsigned int n = n_nodes();

    fail_next();
    ask_name(FUSE_LOOKUP, f->box, "send");
    cr_assert_eq(n_nodes(), n);
    lookup(f->box, "send");
    cr_assert_eq(n_nodes(), n + 1);
}

OPS_TEST(a_file_whose_opening_did_not_arrive_is_closed)
{
    struct file *last = TAILQ_LAST(&fs.kernel.files.list, files_list);
    uint64_t node = lookup(f->box, "recv");

    fail_next();
    ask_open(node, O_RDONLY);
    cr_assert_eq(TAILQ_LAST(&fs.kernel.files.list, files_list), last);
}

static void interrupt(uint64_t unique)
{
    struct fuse_interrupt_in arg = { .unique = unique };

    ask(FUSE_INTERRUPT, 0, &arg, sizeof(arg), NULL, 0);
}

/* The answer is given by the deferred work's thread. */
static void expect_interrupted(uint64_t unique)
{
    deferred_stop(&fs.kernel.deferred);
    cr_assert_eq(answer_to(unique)->error, -EINTR);
}

OPS_TEST(an_interrupted_reader_takes_nothing)
{
    uint64_t unique = ask_read(f->recv, 100, 0, O_RDONLY);

    interrupt(unique);
    expect_interrupted(unique);
    send_text(f->send, "one");
    expect_read(ask_read(f->recv, 100, 0, O_RDONLY), "one");
}

OPS_TEST(an_interrupt_that_comes_before_its_request_ends_it)
{
    uint64_t unique;

    interrupt(last_unique + 2);
    unique = ask_read(f->recv, 100, 0, O_RDONLY);
    expect_interrupted(unique);
}

OPS_TEST(an_interrupt_that_comes_too_late_changes_nothing)
{
    uint64_t unique = ask_read(f->recv, 100, 0, O_RDONLY);

    send_text(f->send, "one");
    expect_read(unique, "one");
    interrupt(unique);
    expect_read(ask_read(f->recv, 100, 0, O_RDONLY), "");
}

OPS_TEST(lines_that_did_not_arrive_all_come_again)
{
    uint64_t lines = open_file(f->box, "recv.lines", O_RDONLY);

    send_text(f->send, "one");
    send_text(f->send, "two\n");
    send_text(f->send, "three");
    fail_next();
    ask_read(lines, 100, 0, O_RDONLY);
    expect_read(ask_read(lines, 9, 0, O_RDONLY), "one\ntwo\n");
    expect_read(ask_read(f->recv, 100, 0, O_RDONLY), "three");
}

OPS_TEST(a_line_longer_than_the_read_that_did_not_arrive_comes_again)
{
    uint64_t lines = open_file(f->box, "recv.lines", O_RDONLY);

    send_text(f->send, "abcdef");
    fail_next();
    ask_read(lines, 4, 0, O_RDONLY);
    expect_read(ask_read(lines, 4, 0, O_RDONLY), "abcd");
    fail_next();
    ask_read(lines, 4, 0, O_RDONLY);
    expect_read(ask_read(lines, 4, 0, O_RDONLY), "ef\n");
    cr_assert_eq(answer_to(ask_read(lines, 4, 0, O_RDONLY | O_NONBLOCK))->error, -EAGAIN);
}

OPS_TEST(a_stream_takes_no_more_than_it_can_carry)
{
    uint64_t json = open_file(f->box, "recv.json", O_RDONLY);
    size_t n;

    send_text(f->send, "one");
    send_text(f->send, "two");
    n = answer_to(ask_read(json, 200, 0, O_RDONLY))->size;
    cr_assert_gt(n, 50);
    cr_assert_lt(n, 200);
    expect_read(ask_read(f->recv, 100, 0, O_RDONLY), "two");
}

static uint64_t ask_create(uint64_t box, const char *name)
{
    struct fuse_create_in arg = { .flags = O_WRONLY | O_CREAT | O_NONBLOCK, .mode = 0644 };

    return ask(FUSE_CREATE, lookup(box, "drop"), &arg, sizeof(arg), name, strlen(name) + 1);
}

OPS_TEST(a_file_whose_creation_did_not_arrive_frees_its_place)
{
    uint64_t config = open_file(f->box, "config", O_WRONLY);
    uint64_t drop = lookup(f->box, "drop");
    struct fuse_create_in arg = { .flags = O_WRONLY | O_CREAT | O_NONBLOCK, .mode = 0644 };

    send_text(config, "messages=1");
    fail_next();
    ask(FUSE_CREATE, drop, &arg, sizeof(arg), "a", 2);
    cr_assert_eq(answer_to(ask_create(f->box, "b"))->error, 0);
    cr_assert_eq(answer_to(ask_create(f->box, "c"))->error, -EAGAIN);
}

OPS_TEST(what_is_open_at_the_end_is_closed)
{
    /* A reader and an unfinished message: stop() frees all, as the leak checkers see. */
    send_text(f->send, "abc");
    expect_read(ask_read(f->recv, 1, 0, O_RDONLY), "a");
    ask_read(open_file(f->box, "recv", O_RDONLY), 100, 0, O_RDONLY);
}

/* A message that comes back can find its room taken. */
OPS_TEST(nothing_is_left_where_more_is_held_than_may_be)
{
    const struct fuse_statfs_out *out;

    (void)f;
    cr_assert_eq(quota_restore(&fs.domain.quota, 0, fs.kernel.max_bytes + 1), 0);
    out = (const struct fuse_statfs_out *)answer_to(
              ask(FUSE_STATFS, FUSE_ROOT_ID, NULL, 0, NULL, 0))
              ->data;
    cr_assert_eq(out->st.bfree, 0);
    cr_assert_eq(out->st.bavail, 0);
    quota_release(&fs.domain.quota, 0, fs.kernel.max_bytes + 1);
}
