/* Asking by libdbus: a call that waits for its return, and a loop that reads and answers. */
#include <dbus/dbus.h>
#include <stdio.h>
#include <string.h>

#include "call_kind.h"

static DBusConnection *bus;
static char server[64];

static void open_bus(const char *where)
{
    DBusError error = DBUS_ERROR_INIT;
    char address[512];

    snprintf(address, sizeof(address), "unix:path=%s", where);
    bus = dbus_connection_open_private(address, &error);
    if (!bus || !dbus_bus_register(bus, &error))
        call_fail(error.message);
}

static void answer(DBusMessage *call)
{
    DBusMessage *reply = dbus_message_new_method_return(call);
    const char *data;
    int n;

    if (!dbus_message_get_args(call, NULL, DBUS_TYPE_ARRAY, DBUS_TYPE_BYTE, &data, &n,
                               DBUS_TYPE_INVALID) ||
        !dbus_message_append_args(reply, DBUS_TYPE_ARRAY, DBUS_TYPE_BYTE, &data, n,
                                  DBUS_TYPE_INVALID) ||
        !dbus_connection_send(bus, reply, NULL))
        call_fail("libdbus: an answer");
    dbus_message_unref(reply);
}

static void serve(const char *where, size_t n_bytes, int ready)
{
    (void)n_bytes;
    open_bus(where);
    call_say_ready(ready, dbus_bus_get_unique_name(bus));
    while (dbus_connection_read_write(bus, -1)) {
        DBusMessage *message;

        while ((message = dbus_connection_pop_message(bus))) {
            if (dbus_message_is_method_call(message, CALL_INTERFACE, CALL_METHOD))
                answer(message);
            dbus_message_unref(message);
        }
        dbus_connection_flush(bus);
    }
}

static void connect_bus(const char *where, const char *greeting)
{
    open_bus(where);
    snprintf(server, sizeof(server), "%s", greeting);
}

static void call(const char *question, size_t n_bytes, char *ret_answer)
{
    DBusMessage *message = dbus_message_new_method_call(server, CALL_PATH, CALL_INTERFACE,
                                                        CALL_METHOD);
    DBusMessage *reply;
    const char *data;
    int n = (int)n_bytes;

    dbus_message_append_args(message, DBUS_TYPE_ARRAY, DBUS_TYPE_BYTE, &question, n,
                             DBUS_TYPE_INVALID);
    reply = dbus_connection_send_with_reply_and_block(bus, message, -1, NULL);
    dbus_message_unref(message);
    if (!reply || !dbus_message_get_args(reply, NULL, DBUS_TYPE_ARRAY, DBUS_TYPE_BYTE, &data, &n,
                                         DBUS_TYPE_INVALID))
        call_fail("libdbus: a call");
    memcpy(ret_answer, data, n_bytes);
    dbus_message_unref(reply);
}

const struct call_kind call_libdbus = { "libdbus", serve, connect_bus, call };
