/* As much of D-Bus's wire protocol as a benchmark needs, so that no client library's costs are in the bus's figure.
 *
 * A connection belongs to one thread. Whatever goes wrong ends the program: there is nothing to measure then. */
#ifndef TESTS_BENCH_DBUS_H
#define TESTS_BENCH_DBUS_H

#include <stddef.h>
#include <stdint.h>

enum dbus_type {
    DBUS_CALL = 1,
    DBUS_RETURN = 2,
    DBUS_ERROR = 3,
    DBUS_SIGNAL = 4,
};

struct dbus {
    int fd;
    char name[64]; /* the unique one */
    char *buffer;
    size_t n_buffer;
    size_t begin, end; /* of what was read and not looked at */
};

/* A message that was read: valid until the next read from its connection. */
struct dbus_message {
    enum dbus_type type;
    uint32_t serial;
    uint32_t reply_serial;
    const char *sender; /* NULL: it says nothing */
    const char *body;
    size_t n_body;
};

/* What is to be sent. A NULL string is left out. */
struct dbus_header {
    enum dbus_type type;
    uint32_t serial;
    uint32_t reply_serial; /* 0: none */
    const char *destination;
    const char *path;
    const char *interface;
    const char *member;
};

/* Connects to the bus at the socket @path, and says hello. */
void dbus_open(struct dbus *bus, const char *path);

/* Asks for signals of the interface @interface, and waits until the bus has taken that down. */
void dbus_subscribe(struct dbus *bus, const char *interface);

/* Appends a message with @n bytes, as an array of bytes, to @to. Return: its end. */
char *dbus_put(char *to, const struct dbus_header *header, const char *data, size_t n);

/* How many bytes dbus_put needs at most, beside the data. */
#define DBUS_FRAME_BYTES 512

void dbus_write(struct dbus *bus, const char *data, size_t n);

/* Waits for the next message. */
void dbus_read(struct dbus *bus, struct dbus_message *ret_message);

/* Waits for a message of @type, and forgets what comes before it. */
void dbus_await(struct dbus *bus, enum dbus_type type, struct dbus_message *ret_message);

#endif
