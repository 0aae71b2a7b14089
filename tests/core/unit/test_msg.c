/* A message that grows before it is sent: what it costs, and that it stays what was written. */
#include "core/mailbox/msg.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static const struct msg_sender sender = { .pid = 1, .uid = 7 };

static struct msg *empty(void)
{
    return msg_alloc(0, 0, sender);
}

static void resize(struct msg **msg, size_t size_bytes)
{
    cr_assert_eq(msg_resize(msg, size_bytes), 0);
    cr_assert_eq((*msg)->size_bytes, size_bytes);
}

static bool is_zero(const struct msg *msg, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        if (msg->data[i])
            return false;
    }
    return true;
}

/* Return: how much memory there is behind what @msg has been, up to @size_bytes. */
static uint64_t resident_bytes(const struct msg *msg, size_t size_bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t start = (uintptr_t)msg / page * page;
    size_t n_pages = (sizeof(*msg) + size_bytes) / page;
    unsigned char *pages = malloc(n_pages);
    uint64_t n = 0;

    cr_assert(pages);
    cr_assert_eq(mincore((void *)start, n_pages * page, pages), 0);
    for (size_t i = 0; i < n_pages; i++)
        n += pages[i] & 1;
    free(pages);
    return n * page;
}

Test(msg, grows_byte_by_byte)
{
    struct msg *msg = empty();

    for (size_t i = 0; i < 3 * MIB; i++) {
        resize(&msg, i + 1);
        msg->data[i] = (unsigned char)(i % 251);
    }
    for (size_t i = 0; i < 3 * MIB; i++)
        cr_assert_eq(msg->data[i], i % 251);
    cr_assert_eq(msg->sender.uid, 7);
    msg_unref(msg);
}

Test(msg, what_is_new_is_zero_after_what_was_there_was_cut_off)
{
    static const size_t sizes[] = { 10, 5000, MIB - 1, MIB, MIB + 1, 5 * MIB };
    struct msg *msg = empty();

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        resize(&msg, sizes[i]);
        memset(msg->data, 'x', sizes[i]);
        resize(&msg, 3);
        resize(&msg, sizes[i]);
        cr_assert_arr_eq(msg->data, "xxx", 3);
        cr_assert(is_zero(msg, 3, sizes[i]), "of %zu bytes", sizes[i]);
        resize(&msg, 0);
        resize(&msg, sizes[i]);
        cr_assert(is_zero(msg, 0, sizes[i]), "of %zu bytes", sizes[i]);
    }
    msg_unref(msg);
}

Test(msg, a_gap_takes_no_memory)
{
    struct msg *msg = empty();

    resize(&msg, 1);
    msg->data[0] = 'a';
    resize(&msg, 2 * GIB);
    msg->data[2 * GIB - 1] = 'z';
    resize(&msg, 3 * GIB);
    cr_assert_eq(msg->data[0], 'a');
    cr_assert_eq(msg->data[2 * GIB - 1], 'z');
    /* A huge page for each byte, at most. */
    cr_assert_lt(resident_bytes(msg, 3 * GIB), 8 * MIB);
    msg_unref(msg);
}

Test(msg, what_is_cut_off_is_given_back)
{
    struct msg *msg = empty();

    resize(&msg, 64 * MIB);
    memset(msg->data, 'x', 64 * MIB);
    cr_assert_geq(resident_bytes(msg, 64 * MIB), 60 * MIB);
    resize(&msg, 1);
    cr_assert_lt(resident_bytes(msg, 64 * MIB), 8 * MIB);
    msg_unref(msg);
}

Test(msg, more_than_there_can_be_is_refused_and_changes_nothing)
{
    struct msg *msg = empty();

    resize(&msg, 5);
    memcpy(msg->data, "hello", 5);
    cr_assert_eq(msg_resize(&msg, UINT64_C(1) << 62), -ENOMEM);
    cr_assert_eq(msg_resize(&msg, SIZE_MAX), -ENOMEM);
    cr_assert_eq(msg->size_bytes, 5);
    cr_assert_arr_eq(msg->data, "hello", 5);
    msg_unref(msg);
}
