/* Texts that users give the filesystem, and those it makes of their bytes. The first byte chooses. */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "fs/mailbox/envelope.h"
#include "fs/mailbox/json_line.h"
#include "fs/options.h"
#include "fs/proc/process.h"
#include "tests/core/fuzz/input.h"

#define N_WORDS_MAX 8

static char *copy_of(const struct input *input)
{
    char *text = malloc(input->left + 1);

    if (input->left > 0)
        memcpy(text, input->data, input->left);
    text[input->left] = '\0';
    return text;
}

static void try_pid(char *text)
{
    pid_t pid = process_parse_pid(text);
    char formatted[16];

    HOLDS(pid >= 0);
    if (pid == 0)
        return;
    snprintf(formatted, sizeof(formatted), "%d", (int)pid);
    HOLDS(strcmp(formatted, text) == 0);
}

/* A command line, its words cut at newlines. What is wrong with it is said on stderr: nowhere. */
static void try_options(char *text)
{
    char program[] = "ipcfs";
    char *argv[N_WORDS_MAX + 2] = { program };
    struct options options = { 0 };
    int argc = 1;

    for (char *word = strtok(text, "\n"); word && argc <= N_WORDS_MAX; word = strtok(NULL, "\n"))
        argv[argc++] = word;
    options_parse(&options, argc, argv);
    options_free(&options);
}

static int value_of(char c)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = memchr(alphabet, c, 64);

    HOLDS(at);
    return (int)(at - alphabet);
}

/* Whether @text is the base64 of @data. */
static bool is_base64_of(const char *text, const unsigned char *data, size_t n)
{
    size_t n_bits = 0;
    uint32_t bits = 0;
    size_t n_out = 0;

    if (strlen(text) != (n + 2) / 3 * 4)
        return false;
    for (; *text && *text != '='; text++) {
        bits = bits << 6 | (uint32_t)value_of(*text);
        n_bits += 6;
        if (n_bits < 8)
            continue;
        n_bits -= 8;
        if (n_out >= n || data[n_out++] != (bits >> n_bits & 0xff))
            return false;
    }
    return n_out == n && strspn(text, "=") == strlen(text);
}

/* The envelope is one line of JSON, from which the same bytes come back. */
static void try_envelope(const struct input *input)
{
    struct msg_sender sender = { .pid = 42, .uid = 1001, .gid = 1002 };
    struct msg *msg = msg_new(input->data, input->left, 3, sender);
    size_t n_max = 6 * input->left + 1024;
    char *text = calloc(1, n_max);
    size_t n_at_a_time = 1 + input->left % 7 * 50;
    struct envelope envelope;
    size_t n = 0;
    size_t n_read;
    json_t *json;
    json_t *body;

    envelope_init(&envelope, &(struct mbox_entry){ .msg = msg });
    while ((n_read = envelope_read(&envelope, text + n, n_at_a_time)) > 0) {
        n += n_read;
        HOLDS(n_read <= n_at_a_time && n + n_at_a_time < n_max);
    }
    HOLDS(envelope_is_read(&envelope));
    HOLDS(n > 0 && strchr(text, '\n') == text + n - 1);
    json = json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    HOLDS(json);
    HOLDS(json_integer_value(json_object_get(json, "uid")) == 1001);
    HOLDS(json_integer_value(json_object_get(json, "size")) == (json_int_t)input->left);
    body = json_object_get(json, "text");
    if (body)
        HOLDS(json_string_length(body) == input->left &&
              memcmp(json_string_value(body), msg->data, input->left) == 0);
    else
        HOLDS(is_base64_of(json_string_value(json_object_get(json, "base64")), msg->data,
                           input->left));
    json_decref(json);
    free(text);
    msg_unref(msg);
}

static void check_headers(const struct headers *headers, const json_t *object)
{
    struct header header;
    size_t n_bytes = 0;
    size_t at = 0;
    size_t n = 0;

    while (headers_next(headers, &at, &header)) {
        const json_t *value = json_object_getn(object, header.name, header.n_name);

        HOLDS(header.n_name > 0 && header.n_name <= HEADERS_NAME_MAX);
        HOLDS(value && json_string_length(value) == header.n_value &&
              memcmp(json_string_value(value), header.value, header.n_value) == 0);
        n_bytes += header.n_name + header.n_value;
        n++;
    }
    HOLDS(n == json_object_size(object));
    HOLDS(n_bytes <= HEADERS_BYTES_MAX);
}

/* A line of send.json says what its object does, or is refused. */
static void try_line(const struct input *input)
{
    struct msg_sender sender = { .pid = 42, .uid = 1001, .gid = 1002 };
    struct msg *msg = NULL;
    json_t *object;
    const json_t *body;
    int r = json_line_parse((const char *)input->data, input->left, sender, &msg);

    HOLDS(r == 0 || r == -EINVAL);
    if (r < 0)
        return;
    object = json_loadb((const char *)input->data, input->left,
                        JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    HOLDS(json_is_object(object));
    HOLDS(msg->prio == json_integer_value(json_object_get(object, "prio")));
    check_headers(msg->headers, json_object_get(object, "headers"));
    body = json_object_get(object, "text");
    if (body)
        HOLDS(json_string_length(body) == msg->size_bytes &&
              memcmp(json_string_value(body), msg->data, msg->size_bytes) == 0);
    body = json_object_get(object, "base64");
    if (body)
        HOLDS(is_base64_of(json_string_value(body), msg->data, msg->size_bytes));
    json_decref(object);
    msg_unref(msg);
}

/* A line of work.json gives the bytes that its object has to the question that it names, or is refused; and no line is both
 * that and one of send.json. */
static void try_answer(const struct input *input)
{
    const char *line = (const char *)input->data;
    struct msg_sender sender = { .pid = 42, .uid = 1001, .gid = 1002 };
    struct msg *other = NULL;
    struct msg *msg = NULL;
    uint64_t id = 0;
    json_t *object;
    const json_t *body;
    int r = json_line_parse_answer(line, input->left, sender, &id, &msg);

    HOLDS(r == 0 || r == -EINVAL);
    if (r < 0)
        return;
    HOLDS(json_line_parse(line, input->left, sender, &other) == -EINVAL);
    object = json_loadb(line, input->left, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    HOLDS(json_object_size(object) == 2);
    HOLDS(id > 0 && json_integer_value(json_object_get(object, "id")) == (json_int_t)id);
    body = json_object_get(object, "text");
    if (body)
        HOLDS(json_string_length(body) == msg->size_bytes &&
              memcmp(json_string_value(body), msg->data, msg->size_bytes) == 0);
    else
        HOLDS(is_base64_of(json_string_value(json_object_get(object, "base64")), msg->data,
                           msg->size_bytes));
    json_decref(object);
    msg_unref(msg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = { data, size };
    unsigned int which = input_u8(&input) % 5;
    char *text = copy_of(&input);

    if (which == 0)
        try_pid(text);
    else if (which == 1)
        try_options(text);
    else if (which == 2)
        try_envelope(&input);
    else if (which == 3)
        try_line(&input);
    else
        try_answer(&input);
    free(text);
    return 0;
}
