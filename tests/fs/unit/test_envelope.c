/* Envelopes, read in pieces of any size, beside what jansson makes of the same message in one. */
#include "fs/mailbox/envelope.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs/mailbox/timestamp.h"
#include "core/base/utf8.h"

#define MIB ((size_t)1 << 20)

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static struct msg *new_message(const void *data, size_t size)
{
    struct msg *msg = msg_new(data, size, 31, (struct msg_sender){ 4194304, 4294967294, 7 });

    cr_assert_not_null(msg);
    msg->id = UINT64_C(12345678901234);
    msg->arrived = (struct timespec){ 1700000000, 12 };
    return msg;
}

static json_t *base64(const struct msg *msg)
{
    size_t n_groups = (msg->size_bytes + 2) / 3;
    char *text = malloc(4 * n_groups + 1);
    json_t *json;

    for (size_t i = 0; i < n_groups; i++) {
        unsigned char in[3] = { 0 };
        size_t n = msg->size_bytes - 3 * i < 3 ? msg->size_bytes - 3 * i : 3;

        memcpy(in, msg->data + 3 * i, n);
        text[4 * i] = alphabet[in[0] >> 2];
        text[4 * i + 1] = alphabet[(in[0] & 3) << 4 | in[1] >> 4];
        text[4 * i + 2] = n > 1 ? alphabet[(in[1] & 15) << 2 | in[2] >> 6] : '=';
        text[4 * i + 3] = n > 2 ? alphabet[in[2] & 63] : '=';
    }
    json = json_stringn_nocheck(text, 4 * n_groups);
    free(text);
    return json;
}

/* Return: the whole line, the caller's to free. */
static char *expected_line(const struct msg *msg)
{
    char arrived[TIMESTAMP_MAX];
    json_t *text = json_stringn((const char *)msg->data, msg->size_bytes);
    json_t *headers = json_object();
    struct header header;
    json_t *object;
    size_t at = 0;
    char *line;
    char *dump;

    timestamp_format(&msg->arrived, arrived);
    object = json_pack("{s:I, s:s, s:I, s:I, s:I, s:i, s:I}", "id", (json_int_t)msg->id, "time",
                       arrived, "pid", (json_int_t)msg->sender.pid, "uid",
                       (json_int_t)msg->sender.uid, "gid", (json_int_t)msg->sender.gid, "prio",
                       (int)msg->prio, "size", (json_int_t)msg->size_bytes);
    if (text)
        json_object_set_new(object, "text", text);
    else
        json_object_set_new(object, "base64", base64(msg));
    while (headers_next(msg->headers, &at, &header))
        json_object_setn_new(headers, header.name, header.n_name,
                             json_stringn(header.value, header.n_value));
    if (msg->headers)
        json_object_set(object, "headers", headers);
    json_decref(headers);
    dump = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    line = malloc(strlen(dump) + 2);
    sprintf(line, "%s\n", dump);
    free(dump);
    return line;
}

/* Reads it in pieces of @size, each twice, as when the first has not arrived. */
static void expect_pieces(struct msg *msg, const char *expected, size_t size)
{
    size_t n_expected = strlen(expected);
    char *line = malloc(n_expected + size);
    char *again = malloc(size);
    struct envelope envelope;
    size_t n_line = 0;

    envelope_init(&envelope, &(struct mbox_entry){ .msg = msg });
    while (!envelope_is_read(&envelope)) {
        struct envelope before = envelope;
        size_t n = envelope_read(&envelope, line + n_line, size);

        cr_assert(n > 0 && n <= size);
        cr_assert_eq(envelope_read(&before, again, size), n);
        cr_assert_eq(memcmp(again, line + n_line, n), 0);
        n_line += n;
        cr_assert_leq(n_line, n_expected);
    }
    cr_assert(n_line == n_expected && memcmp(line, expected, n_line) == 0,
              "in pieces of %zu: %.*s instead of %s", size, (int)(n_line < 300 ? n_line : 300),
              line, n_expected < 300 ? expected : "another");
    cr_assert_eq(envelope_read(&envelope, line, size), 0);
    free(line);
    free(again);
}

/* Takes the reference. */
static void expect_message_in_all_sizes(struct msg *msg)
{
    char *expected = expected_line(msg);
    size_t n = strlen(expected);

    for (size_t piece = 1; piece <= n + 1; piece++)
        expect_pieces(msg, expected, piece);
    free(expected);
    msg_unref(msg);
}

static void expect_in_all_sizes(const void *data, size_t size)
{
    expect_message_in_all_sizes(new_message(data, size));
}

static void expect_text_in_all_sizes(const char *text)
{
    expect_in_all_sizes(text, strlen(text));
}

Test(envelope, texts_in_pieces_of_every_size)
{
    char controls[33];

    for (int i = 0; i < 32; i++)
        controls[i] = (char)i;
    controls[32] = 0x7f;
    expect_in_all_sizes(controls, sizeof(controls));
    expect_text_in_all_sizes("");
    expect_text_in_all_sizes("x");
    expect_text_in_all_sizes("a line\n");
    expect_text_in_all_sizes("\"\\/\b\f\n\r\t \"\"\"");
    expect_text_in_all_sizes("ß€😀\u2028\ufeff\x7f");
    expect_text_in_all_sizes("</script>{\"a\": [1, null]}");
}

Test(envelope, binaries_in_pieces_of_every_size)
{
    char bytes[256];

    for (int i = 0; i < 256; i++)
        bytes[i] = (char)(255 - i);
    for (size_t n = 1; n < 10; n++)
        expect_in_all_sizes(bytes, n);
    expect_in_all_sizes(bytes, sizeof(bytes));
    expect_text_in_all_sizes("gr\xfc\xdf");
    expect_text_in_all_sizes("abc\xc3");
}

static struct msg *with_headers(const char *data)
{
    struct msg *msg = new_message(data, strlen(data));
    char name[HEADERS_NAME_MAX];

    memset(name, 'n', sizeof(name));
    cr_assert_eq(headers_add(&msg->headers, "kind", 4, "\"gr\u00fc\u00dfe\"\n", 10), 0);
    cr_assert_eq(headers_add(&msg->headers, "empty", 5, "", 0), 0);
    cr_assert_eq(headers_add(&msg->headers, name, sizeof(name), "\0", 1), 0);
    return msg;
}

Test(envelope, headers_in_pieces_of_every_size)
{
    expect_message_in_all_sizes(with_headers("text"));
    expect_message_in_all_sizes(with_headers(""));
    expect_message_in_all_sizes(with_headers("\xff\xfe"));
}

Test(envelope, says_how_many_were_missed)
{
    struct msg *msg = new_message("a", 1);
    struct envelope envelope;
    char line[512];
    size_t n;

    envelope_init(&envelope, &(struct mbox_entry){ .msg = msg, .n_missed = UINT64_MAX });
    n = envelope_read(&envelope, line, sizeof(line) - 1);
    line[n] = '\0';
    cr_assert(strstr(line, "\"size\":1,\"missed\":18446744073709551615,\"text\":\"a\"}\n"), "%s",
              line);
    msg_unref(msg);
}

/* As the name of a mailbox may be, which is any bytes. */
Test(envelope, a_header_that_is_no_text_is_made_one)
{
    struct msg *msg = new_message("", 0);
    struct envelope envelope;
    char line[512];
    size_t n;

    cr_assert_eq(headers_add(&msg->headers, "a", 1, "x\xff\"\xc3\x41", 5), 0);
    envelope_init(&envelope, &(struct mbox_entry){ .msg = msg });
    n = envelope_read(&envelope, line, sizeof(line) - 1);
    line[n] = '\0';
    cr_assert(strstr(line, ",\"headers\":{\"a\":\"x\\uFFFD\\\"\\uFFFDA\"}}\n"), "%s", line);
    msg_unref(msg);
}

/* Return: @msg's size of letters, with @at those of @bytes that fit. */
static struct msg *long_message(size_t size, size_t at, const char *bytes)
{
    struct msg *msg;
    char *data = malloc(size);
    size_t n = strlen(bytes);

    memset(data, 'a', size);
    memcpy(data + at, bytes, n < size - at ? n : size - at);
    msg = new_message(data, size);
    free(data);
    return msg;
}

static void expect_long(size_t size, size_t at, const char *bytes)
{
    struct msg *msg = long_message(size, at, bytes);
    char *expected = expected_line(msg);

    expect_pieces(msg, expected, 4096);
    expect_pieces(msg, expected, 65537);
    expect_pieces(msg, expected, 2 * size);
    free(expected);
    msg_unref(msg);
}

Test(envelope, a_long_body_is_judged_to_its_end)
{
    static const size_t sizes[] = { MIB - 1, MIB, MIB + 1, 3 * MIB };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t size = sizes[i];

        expect_long(size, 0, "");
        expect_long(size, size - 1, "\xff");
        expect_long(size, size - 3, "€");
        expect_long(size, size - 2, "€");
        /* Across a step's end. */
        expect_long(size, size > MIB ? MIB - 1 : 5, "😀");
    }
}

Test(envelope, a_read_costs_what_it_returns_however_long_the_message)
{
    size_t size = 70 * MIB;
    struct msg *msg = long_message(size, size - 1, "\xff");
    struct envelope envelope;
    size_t n_reads = 0;
    char byte;

    envelope_init(&envelope, &(struct mbox_entry){ .msg = msg });
    while (envelope.stage == ENVELOPE_JUDGE) {
        size_t offset = envelope.offset;

        cr_assert_eq(envelope_read(&envelope, &byte, 1), 1);
        if (envelope.stage == ENVELOPE_JUDGE)
            cr_assert_leq(envelope.offset - offset, size / 64 + 8);
        n_reads++;
    }
    cr_assert_leq(n_reads, 64);
    msg_unref(msg);
}

static bool is_valid(const unsigned char *data, size_t n)
{
    json_t *text = json_stringn((const char *)data, n);

    json_decref(text);
    return text;
}

/* Of all of one to three bytes, and of many of four. */
Test(envelope, what_is_utf8_is_what_jansson_takes_for_it)
{
    unsigned char bytes[12] = "abcdefgh";
    size_t n_seen;

    for (unsigned int i = 0; i < 1U << 24; i += i < 1U << 16 ? 1 : 251) {
        bytes[6] = (unsigned char)(i >> 16);
        bytes[7] = (unsigned char)(i >> 8);
        bytes[8] = (unsigned char)i;
        for (size_t n = 7; n <= 9; n++)
            cr_assert_eq(utf8_check(bytes, n, n, &n_seen), is_valid(bytes, n));
    }
    for (unsigned int i = 0; i < 1U << 16; i++) {
        static const unsigned char thirds[] = { 0x7f, 0x80, 0xbf, 0xc0 };

        bytes[6] = (unsigned char)(i >> 8);
        bytes[7] = (unsigned char)i;
        for (size_t j = 0; j < 16; j++) {
            bytes[8] = thirds[j & 3];
            bytes[9] = thirds[j >> 2];
            cr_assert_eq(utf8_check(bytes, 10, 10, &n_seen), is_valid(bytes, 10));
        }
    }
}
