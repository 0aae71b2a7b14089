/* Asking by sd-bus: a call that waits for its return, and an object with a method. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>

#include "call_kind.h"

static sd_bus *bus;
static char server[64];

static const char *open_bus(const char *where)
{
    char address[512];
    const char *name;

    snprintf(address, sizeof(address), "unix:path=%s", where);
    if (sd_bus_new(&bus) < 0 || sd_bus_set_address(bus, address) < 0 ||
        sd_bus_set_bus_client(bus, 1) < 0 || sd_bus_start(bus) < 0 ||
        sd_bus_get_unique_name(bus, &name) < 0)
        call_fail("sd-bus");
    return name;
}

static int echo(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    sd_bus_message *reply;
    const void *data;
    size_t n;
    int r;

    (void)userdata;
    (void)error;
    r = sd_bus_message_read_array(message, 'y', &data, &n);
    if (r >= 0)
        r = sd_bus_message_new_method_return(message, &reply);
    if (r < 0)
        return r;
    r = sd_bus_message_append_array(reply, 'y', data, n);
    if (r >= 0)
        r = sd_bus_send(bus, reply, NULL);
    sd_bus_message_unref(reply);
    return r < 0 ? r : 1;
}

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD(CALL_METHOD, "ay", "ay", echo, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};

static void serve(const char *where, size_t n_bytes, int ready)
{
    const char *name = open_bus(where);

    (void)n_bytes;
    if (sd_bus_add_object_vtable(bus, NULL, CALL_PATH, CALL_INTERFACE, vtable, NULL) < 0)
        call_fail("sd-bus: an object");
    call_say_ready(ready, name);
    for (;;) {
        int r = sd_bus_process(bus, NULL);

        if (r == 0)
            r = sd_bus_wait(bus, UINT64_MAX);
        if (r < 0)
            call_fail("sd-bus: a call");
    }
}

static void connect_bus(const char *where, const char *greeting)
{
    open_bus(where);
    snprintf(server, sizeof(server), "%s", greeting);
}

static void call(const char *question, size_t n_bytes, char *ret_answer)
{
    sd_bus_message *message;
    sd_bus_message *reply;
    const void *data;
    size_t n;

    if (sd_bus_message_new_method_call(bus, &message, server, CALL_PATH, CALL_INTERFACE,
                                       CALL_METHOD) < 0 ||
        sd_bus_message_append_array(message, 'y', question, n_bytes) < 0 ||
        sd_bus_call(bus, message, 0, NULL, &reply) < 0 ||
        sd_bus_message_read_array(reply, 'y', &data, &n) < 0 || n != n_bytes)
        call_fail("sd-bus: a call");
    memcpy(ret_answer, data, n);
    sd_bus_message_unref(message);
    sd_bus_message_unref(reply);
}

const struct call_kind call_sdbus = { "sdbus", serve, connect_bus, call };
