/* D-Bus messages by hand: a header of 16 bytes, its fields, each a byte and a variant at a multiple of 8, and the body. Only what a
 * bus on this machine sends to who has authenticated is read, so lengths are believed. */
#include "dbus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BUFFER_BYTES (256 << 10)
#define FIXED_BYTES 16 /* before the fields */

/* Fields. */
#define PATH 1
#define INTERFACE 2
#define MEMBER 3
#define REPLY_SERIAL 5
#define DESTINATION 6
#define SENDER 7
#define SIGNATURE 8

#define BUS "org.freedesktop.DBus"

__attribute__((noreturn)) static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static size_t align(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

/* --- writing --- */

/* By the distance to @start, where the message begins. */
static char *pad(const char *start, char *to, size_t alignment)
{
    while ((size_t)(to - start) % alignment)
        *to++ = 0;
    return to;
}

static char *put_u32(char *to, uint32_t value)
{
    memcpy(to, &value, sizeof(value));
    return to + sizeof(value);
}

static char *put_field(const char *start, char *to, char field, const char *type)
{
    to = pad(start, to, 8);
    *to++ = field;
    *to++ = (char)strlen(type);
    return (char *)memcpy(to, type, strlen(type) + 1) + strlen(type) + 1;
}

static char *put_string(const char *start, char *to, char field, const char *type,
                        const char *value)
{
    if (!value)
        return to;
    to = pad(start, put_field(start, to, field, type), 4);
    to = put_u32(to, (uint32_t)strlen(value));
    return (char *)memcpy(to, value, strlen(value) + 1) + strlen(value) + 1;
}

static char *put_signature(const char *start, char *to, const char *value)
{
    to = put_field(start, to, SIGNATURE, "g");
    *to++ = (char)strlen(value);
    return (char *)memcpy(to, value, strlen(value) + 1) + strlen(value) + 1;
}

static char *put_header(char *to, const struct dbus_header *header, const char *signature)
{
    char *start = to;
    char *fields = to + FIXED_BYTES;

    *to++ = 'l';
    *to++ = (char)header->type;
    *to++ = 0;
    *to++ = 1;
    to = put_u32(to, 0); /* the body's length */
    to = put_u32(to, header->serial);
    to = fields;
    to = put_string(start, to, PATH, "o", header->path);
    to = put_string(start, to, INTERFACE, "s", header->interface);
    to = put_string(start, to, MEMBER, "s", header->member);
    to = put_string(start, to, DESTINATION, "s", header->destination);
    if (header->reply_serial)
        to = put_u32(pad(start, put_field(start, to, REPLY_SERIAL, "u"), 4), header->reply_serial);
    if (signature)
        to = put_signature(start, to, signature);
    put_u32(start + 12, (uint32_t)(to - fields));
    return pad(start, to, 8);
}

char *dbus_put(char *to, const struct dbus_header *header, const char *data, size_t n)
{
    char *start = to;
    char *body = put_header(to, header, "ay");

    to = put_u32(body, (uint32_t)n);
    to = (char *)memcpy(to, data, n) + n;
    put_u32(start + 4, (uint32_t)(to - body));
    return to;
}

void dbus_write(struct dbus *bus, const char *data, size_t n)
{
    while (n > 0) {
        ssize_t n_written = write(bus->fd, data, n);

        if (n_written < 0)
            fail("dbus: write");
        data += n_written;
        n -= (size_t)n_written;
    }
}

/* --- reading --- */

static uint32_t get_u32(const char *from)
{
    uint32_t value;

    memcpy(&value, from, sizeof(value));
    return value;
}

/* Has @n bytes at hand. */
static const char *need(struct dbus *bus, size_t n)
{
    if (n > bus->n_buffer) {
        fprintf(stderr, "dbus: a message of %zu bytes\n", n);
        exit(1);
    }
    if (bus->begin + n > bus->n_buffer) {
        memmove(bus->buffer, bus->buffer + bus->begin, bus->end - bus->begin);
        bus->end -= bus->begin;
        bus->begin = 0;
    }
    while (bus->end - bus->begin < n) {
        ssize_t n_read = read(bus->fd, bus->buffer + bus->end, bus->n_buffer - bus->end);

        if (n_read <= 0)
            fail("dbus: read");
        bus->end += (size_t)n_read;
    }
    return bus->buffer + bus->begin;
}

/* Looks at one field at @at of @start. Return: where the next may be. */
static size_t get_field(const char *start, size_t at, struct dbus_message *message)
{
    char field = start[at];
    size_t n_type = (unsigned char)start[at + 1];
    char type = start[at + 2];
    size_t value = at + 3 + n_type;

    if (type == 'g')
        return value + 2 + (unsigned char)start[value];
    value = align(value, 4);
    if (type == 'u') {
        if (field == REPLY_SERIAL)
            message->reply_serial = get_u32(start + value);
        return value + 4;
    }
    if (field == SENDER)
        message->sender = start + value + 4;
    return value + 4 + get_u32(start + value) + 1;
}

void dbus_read(struct dbus *bus, struct dbus_message *ret_message)
{
    const char *start = need(bus, FIXED_BYTES);
    size_t n_body = get_u32(start + 4);
    size_t fields_end = FIXED_BYTES + get_u32(start + 12);
    size_t body = align(fields_end, 8);

    start = need(bus, body + n_body);
    *ret_message = (struct dbus_message){
        .type = (enum dbus_type)start[1],
        .serial = get_u32(start + 8),
        .body = start + body,
        .n_body = n_body,
    };
    for (size_t at = FIXED_BYTES; at < fields_end;)
        at = get_field(start, align(at, 8), ret_message);
    bus->begin += body + n_body;
}

void dbus_await(struct dbus *bus, enum dbus_type type, struct dbus_message *ret_message)
{
    do {
        dbus_read(bus, ret_message);
        if (ret_message->type == DBUS_ERROR) {
            fprintf(stderr, "dbus: an error: %.*s\n", (int)ret_message->n_body - 5,
                    ret_message->body + 4);
            exit(1);
        }
    } while (ret_message->type != type);
}

/* --- a connection --- */

static void authenticate(struct dbus *bus)
{
    char uid[16];
    char line[128] = { 0 };
    char *to = line + 1; /* after the zero that begins it */

    to += sprintf(to, "AUTH EXTERNAL ");
    snprintf(uid, sizeof(uid), "%u", (unsigned int)getuid());
    for (const char *c = uid; *c; c++)
        to += sprintf(to, "%02x", (unsigned char)*c);
    to += sprintf(to, "\r\n");
    dbus_write(bus, line, (size_t)(to - line));
    while (*need(bus, 1) != '\n')
        bus->begin++;
    bus->begin++;
    dbus_write(bus, "BEGIN\r\n", 7);
}

/* Calls the bus itself, with one string or none, and waits for its answer. */
static void call_bus(struct dbus *bus, const char *member, const char *argument,
                     struct dbus_message *ret_message)
{
    static uint32_t serial;
    char buffer[1024];
    const struct dbus_header header = { .type = DBUS_CALL,
                                        .serial = ++serial,
                                        .destination = BUS,
                                        .path = "/org/freedesktop/DBus",
                                        .interface = BUS,
                                        .member = member };
    char *body = put_header(buffer, &header, argument ? "s" : NULL);
    char *end = body;

    if (argument) {
        end = put_u32(end, (uint32_t)strlen(argument));
        end = (char *)memcpy(end, argument, strlen(argument) + 1) + strlen(argument) + 1;
    }
    put_u32(buffer + 4, (uint32_t)(end - body));
    dbus_write(bus, buffer, (size_t)(end - buffer));
    do
        dbus_await(bus, DBUS_RETURN, ret_message);
    while (ret_message->reply_serial != header.serial);
}

void dbus_open(struct dbus *bus, const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct dbus_message answer;

    *bus = (struct dbus){ .fd = socket(AF_UNIX, SOCK_STREAM, 0), .n_buffer = BUFFER_BYTES };
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    bus->buffer = malloc(bus->n_buffer);
    if (!bus->buffer || bus->fd < 0 ||
        connect(bus->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        fail(path);
    authenticate(bus);
    call_bus(bus, "Hello", NULL, &answer);
    snprintf(bus->name, sizeof(bus->name), "%s", answer.body + 4);
}

void dbus_subscribe(struct dbus *bus, const char *interface)
{
    struct dbus_message answer;
    char rule[256];

    snprintf(rule, sizeof(rule), "type='signal',interface='%s'", interface);
    call_bus(bus, "AddMatch", rule, &answer);
}
