/* Encoding and decoding. A value is judged before it is used: the checksum first, then each length against what is
 * there, so that nothing that a disk has spoilt is taken for something else.
 *
 * The checksum is no defence against anybody; it has to notice accidents, and to cost less than copying. It takes
 * eight bytes at a time in four lanes, each multiplied by an odd number and rotated, so that neither a changed bit nor
 * two words that have changed places go unseen. */
#include "store_format.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

static void put_big(unsigned char *to, uint64_t number)
{
    number = htobe64(number);
    memcpy(to, &number, sizeof(number));
}

static uint64_t get_big(const unsigned char *from)
{
    uint64_t number;

    memcpy(&number, from, sizeof(number));
    return be64toh(number);
}

static void put_64(unsigned char *to, uint64_t number)
{
    number = htole64(number);
    memcpy(to, &number, sizeof(number));
}

static uint64_t get_64(const unsigned char *from)
{
    uint64_t number;

    memcpy(&number, from, sizeof(number));
    return le64toh(number);
}

static void put_32(unsigned char *to, uint32_t number)
{
    number = htole32(number);
    memcpy(to, &number, sizeof(number));
}

static uint32_t get_32(const unsigned char *from)
{
    uint32_t number;

    memcpy(&number, from, sizeof(number));
    return le32toh(number);
}

struct store_key store_key_info(enum store_info info)
{
    return (struct store_key){ .n_bytes = 2, .bytes = { STORE_INFO, (unsigned char)info } };
}

static struct store_key format_key_of(enum store_table table, const uint64_t *numbers, size_t n)
{
    struct store_key key = { .n_bytes = 1 + 8 * n, .bytes = { (unsigned char)table } };

    for (size_t i = 0; i < n; i++)
        put_big(key.bytes + 1 + 8 * i, numbers[i]);
    return key;
}

struct store_key store_key_box(enum store_table table, uint64_t box)
{
    return format_key_of(table, &box, 1);
}

struct store_key store_key_message(uint64_t box, uint64_t seq)
{
    return format_key_of(STORE_MESSAGE, (uint64_t[]){ box, seq }, 2);
}

struct store_key store_key_history(uint64_t box, uint64_t seq)
{
    return format_key_of(STORE_HISTORY, (uint64_t[]){ box, seq }, 2);
}

struct store_key store_key_to_do(uint64_t txn, uint64_t n)
{
    return format_key_of(STORE_TO_DO, (uint64_t[]){ txn, n }, 2);
}

int store_key_parse(const void *bytes, size_t n_bytes, uint64_t *ret_first, uint64_t *ret_second)
{
    const unsigned char *key = bytes;

    if (n_bytes == 0)
        return 0;
    switch (key[0]) {
    case STORE_INFO:
        *ret_first = n_bytes == 2 ? key[1] : 0;
        return n_bytes == 2 ? STORE_INFO : 0;
    case STORE_NAME:
    case STORE_ATTRIBUTES:
    case STORE_CONFIG:
        if (n_bytes != 9)
            return 0;
        *ret_first = get_big(key + 1);
        return key[0];
    case STORE_MESSAGE:
    case STORE_HISTORY:
    case STORE_TO_DO:
        if (n_bytes != 17)
            return 0;
        *ret_first = get_big(key + 1);
        *ret_second = get_big(key + 9);
        return key[0];
    default:
        return 0;
    }
}

#define SUM_LANES 4
#define BLOCK_BYTES (sizeof(uint64_t) * SUM_LANES)
#define SUM_MULTIPLIER UINT64_C(0x9e3779b97f4a7c15)

struct sum {
    uint64_t lanes[SUM_LANES];
    uint64_t n_bytes;
};

static uint64_t mix(uint64_t lane, uint64_t word)
{
    lane = (lane ^ word) * SUM_MULTIPLIER;
    return lane << 29 | lane >> 35;
}

/* Each piece is padded with zeros to whole words; its length counts, so that this is no other piece. */
static void sum_add(struct sum *sum, const void *data, size_t n)
{
    const unsigned char *from = data;
    unsigned char last[8] = { 0 };
    size_t i = 0;

    sum->n_bytes += n;
    sum->lanes[0] = mix(sum->lanes[0], n);
    for (; n - i >= BLOCK_BYTES; i += BLOCK_BYTES) {
        for (size_t lane = 0; lane < SUM_LANES; lane++)
            sum->lanes[lane] = mix(sum->lanes[lane], get_64(from + i + 8 * lane));
    }
    for (size_t lane = 0; n - i >= 8; i += 8, lane++)
        sum->lanes[lane] = mix(sum->lanes[lane], get_64(from + i));
    if (i < n) {
        memcpy(last, from + i, n - i);
        sum->lanes[SUM_LANES - 1] = mix(sum->lanes[SUM_LANES - 1], get_64(last));
    }
}

uint64_t store_sum(const void *key, size_t n_key, const struct store_piece *pieces, size_t n)
{
    struct sum sum = { .lanes = { 1, 2, 3, 4 } };
    uint64_t all;

    sum_add(&sum, key, n_key);
    for (size_t i = 0; i < n; i++)
        sum_add(&sum, pieces[i].data, pieces[i].n_bytes);
    all = sum.n_bytes;
    for (size_t lane = 0; lane < SUM_LANES; lane++)
        all = mix(all, sum.lanes[lane]);
    return all ^ all >> 32;
}

enum {
    MESSAGE_ID = 8,
    MESSAGE_SECONDS = 16,
    MESSAGE_NANOSECONDS = 24,
    MESSAGE_PRIO = 28,
    MESSAGE_FLAGS = 29,
    MESSAGE_PID = 32,
    MESSAGE_UID = 36,
    MESSAGE_GID = 40,
    MESSAGE_ATTEMPTS = 44,
    MESSAGE_HEADER_BYTES = 48,
    MESSAGE_SIZE = 56,
};

#define MESSAGE_ON_DISK 1
#define MESSAGE_COPY 2
#define MESSAGE_SHARED 4
#define MESSAGE_N_PRIOS 32

/* What a copy has in the place of headers and bytes. */
#define MESSAGE_ORIGINAL_BYTES 16

size_t store_message_bytes(const struct store_message *message)
{
    if (message->is_copy)
        return STORE_MESSAGE_HEAD_BYTES + MESSAGE_ORIGINAL_BYTES;
    return STORE_MESSAGE_HEAD_BYTES + message->header_bytes + message->size_bytes;
}

/* @n_rest: how long the value is behind the head, where the headers come first. */
static uint64_t message_sum(const void *key, size_t n_key, const unsigned char *value,
                            const struct store_message *message, size_t n_rest)
{
    const unsigned char *rest = value + STORE_MESSAGE_HEAD_BYTES;
    size_t n_headers = message->is_copy ? 0 : message->header_bytes;
    const struct store_piece pieces[] = {
        { value + STORE_SUM_BYTES, STORE_MESSAGE_HEAD_BYTES - STORE_SUM_BYTES },
        { rest, n_headers },
        { rest + n_headers, n_rest - n_headers },
    };

    return store_sum(key, n_key, pieces, sizeof(pieces) / sizeof(pieces[0]));
}

static unsigned char format_flags(const struct store_message *message)
{
    return (unsigned char)((message->is_on_disk ? MESSAGE_ON_DISK : 0) |
                           (message->is_copy ? MESSAGE_COPY : 0) |
                           (message->is_shared ? MESSAGE_SHARED : 0));
}

void store_message_encode(const struct store_key *key, const struct store_message *message,
                          unsigned char *value)
{
    unsigned char *rest = value + STORE_MESSAGE_HEAD_BYTES;

    memset(value, 0, STORE_MESSAGE_HEAD_BYTES);
    put_64(value + MESSAGE_ID, message->id);
    put_64(value + MESSAGE_SECONDS, (uint64_t)message->arrived.tv_sec);
    put_32(value + MESSAGE_NANOSECONDS, (uint32_t)message->arrived.tv_nsec);
    value[MESSAGE_PRIO] = (unsigned char)message->prio;
    value[MESSAGE_FLAGS] = format_flags(message);
    put_32(value + MESSAGE_PID, (uint32_t)message->pid);
    put_32(value + MESSAGE_UID, message->uid);
    put_32(value + MESSAGE_GID, message->gid);
    put_32(value + MESSAGE_ATTEMPTS, message->attempts);
    put_32(value + MESSAGE_HEADER_BYTES, (uint32_t)message->header_bytes);
    put_64(value + MESSAGE_SIZE, message->size_bytes);
    if (message->is_copy) {
        put_64(rest, message->original.box);
        put_64(rest + 8, message->original.seq);
    }
    if (!message->is_copy && message->header_bytes > 0)
        memcpy(rest, message->headers, message->header_bytes);
    if (!message->is_copy && message->size_bytes > 0)
        memcpy(rest + message->header_bytes, message->data, message->size_bytes);
    put_64(value, message_sum(key->bytes, key->n_bytes, value, message,
                              store_message_bytes(message) - STORE_MESSAGE_HEAD_BYTES));
}

static bool message_is_sound(const struct store_message *message, size_t n_value)
{
    size_t rest = n_value - STORE_MESSAGE_HEAD_BYTES;

    if (message->prio >= MESSAGE_N_PRIOS || message->arrived.tv_nsec >= 1000000000)
        return false;
    if (message->is_copy)
        return rest == MESSAGE_ORIGINAL_BYTES;
    return message->header_bytes <= rest && message->size_bytes == rest - message->header_bytes;
}

int store_message_decode(const void *key, size_t n_key, const void *value, size_t n_value,
                         struct store_message *ret_message)
{
    const unsigned char *from = value;
    struct store_message message;

    if (n_value < STORE_MESSAGE_HEAD_BYTES)
        return -EUCLEAN;
    message = (struct store_message){
        .id = get_64(from + MESSAGE_ID),
        .arrived = { .tv_sec = (time_t)get_64(from + MESSAGE_SECONDS),
                     .tv_nsec = (long)get_32(from + MESSAGE_NANOSECONDS) },
        .prio = from[MESSAGE_PRIO],
        .is_on_disk = from[MESSAGE_FLAGS] & MESSAGE_ON_DISK,
        .is_copy = from[MESSAGE_FLAGS] & MESSAGE_COPY,
        .is_shared = from[MESSAGE_FLAGS] & MESSAGE_SHARED,
        .pid = (pid_t)get_32(from + MESSAGE_PID),
        .uid = get_32(from + MESSAGE_UID),
        .gid = get_32(from + MESSAGE_GID),
        .attempts = get_32(from + MESSAGE_ATTEMPTS),
        .headers = from + STORE_MESSAGE_HEAD_BYTES,
        .header_bytes = get_32(from + MESSAGE_HEADER_BYTES),
        .size_bytes = get_64(from + MESSAGE_SIZE),
    };
    if (!message_is_sound(&message, n_value))
        return -EUCLEAN;
    if (message_sum(key, n_key, from, &message, n_value - STORE_MESSAGE_HEAD_BYTES) != get_64(from))
        return -EUCLEAN;
    if (message.is_copy)
        message.original = (struct store_place){ .box = get_64(message.headers),
                                                 .seq = get_64(
                                                     (const unsigned char *)message.headers + 8) };
    else
        message.data = (const unsigned char *)message.headers + message.header_bytes;
    *ret_message = message;
    return 0;
}

void store_bytes_encode(const struct store_key *key, const void *data, size_t n,
                        unsigned char *value)
{
    const struct store_piece piece = { data, n };

    put_64(value, store_sum(key->bytes, key->n_bytes, &piece, 1));
    if (n > 0)
        memcpy(value + STORE_SUM_BYTES, data, n);
}

int store_bytes_decode(const void *key, size_t n_key, const void *value, size_t n_value,
                       const void **ret_data, size_t *ret_n)
{
    const unsigned char *from = value;
    struct store_piece piece;

    if (n_value < STORE_SUM_BYTES)
        return -EUCLEAN;
    piece = (struct store_piece){ from + STORE_SUM_BYTES, n_value - STORE_SUM_BYTES };
    if (store_sum(key, n_key, &piece, 1) != get_64(from))
        return -EUCLEAN;
    *ret_data = piece.data;
    *ret_n = piece.n_bytes;
    return 0;
}

void store_number_encode(const struct store_key *key, uint64_t number,
                         unsigned char value[STORE_NUMBER_BYTES])
{
    unsigned char bytes[8];

    put_64(bytes, number);
    store_bytes_encode(key, bytes, sizeof(bytes), value);
}

int store_number_decode(const void *key, size_t n_key, const void *value, size_t n_value,
                        uint64_t *ret_number)
{
    const void *data;
    size_t n;
    int r = store_bytes_decode(key, n_key, value, n_value, &data, &n);

    if (r == 0 && n != sizeof(*ret_number))
        r = -EUCLEAN;
    if (r == 0)
        *ret_number = get_64(data);
    return r;
}

size_t store_name_encode(
    const struct store_key *key, const struct store_name *name,
    unsigned char value[STORE_SUM_BYTES + STORE_NAME_HEAD_BYTES + STORE_NAME_BYTES_MAX])
{
    unsigned char bytes[STORE_NAME_HEAD_BYTES + STORE_NAME_BYTES_MAX];
    size_t n = STORE_NAME_HEAD_BYTES + name->n_bytes;

    put_64(bytes, (uint64_t)name->kind);
    put_64(bytes + 8, name->parent);
    memcpy(bytes + STORE_NAME_HEAD_BYTES, name->text, name->n_bytes);
    store_bytes_encode(key, bytes, n, value);
    return STORE_SUM_BYTES + n;
}

int store_name_decode(const void *key, size_t n_key, const void *value, size_t n_value,
                      struct store_name *ret_name)
{
    const void *data = NULL;
    size_t n;
    int r = store_bytes_decode(key, n_key, value, n_value, &data, &n);
    const unsigned char *from = data;

    if (r < 0)
        return r;
    if (n <= STORE_NAME_HEAD_BYTES || n > STORE_NAME_HEAD_BYTES + STORE_NAME_BYTES_MAX)
        return -EUCLEAN;
    *ret_name = (struct store_name){
        .kind = (enum store_kind)get_64(from),
        .parent = get_64(from + 8),
        .text = (const char *)from + STORE_NAME_HEAD_BYTES,
        .n_bytes = n - STORE_NAME_HEAD_BYTES,
    };
    if (memchr(ret_name->text, '\0', ret_name->n_bytes) ||
        memchr(ret_name->text, '/', ret_name->n_bytes) || ret_name->kind > STORE_KIND_SUBSCRIPTION)
        return -EUCLEAN;
    return 0;
}
