/* Asking by GDBus: a call that waits for its return, and an object with a method. */
#include <gio/gio.h>
#include <stdio.h>
#include <string.h>

#include "call_kind.h"

static GDBusConnection *bus;
static char server[64];

static const char introspection[] = "<node><interface name='" CALL_INTERFACE
                                    "'><method name='" CALL_METHOD
                                    "'><arg type='ay' direction='in'/>"
                                    "<arg type='ay' direction='out'/></method></interface></node>";

static void open_bus(const char *where)
{
    GError *error = NULL;
    char address[512];

    snprintf(address, sizeof(address), "unix:path=%s", where);
    bus = g_dbus_connection_new_for_address_sync(address,
                                                 G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                                     G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
                                                 NULL, NULL, &error);
    if (!bus)
        call_fail(error->message);
}

static void echo(GDBusConnection *connection, const gchar *sender, const gchar *path,
                 const gchar *interface, const gchar *method, GVariant *arguments,
                 GDBusMethodInvocation *invocation, gpointer userdata)
{
    (void)connection;
    (void)sender;
    (void)path;
    (void)interface;
    (void)method;
    (void)userdata;
    g_dbus_method_invocation_return_value(invocation, arguments);
}

static const GDBusInterfaceVTable vtable = { .method_call = echo };

static void serve(const char *where, size_t n_bytes, int ready)
{
    GDBusNodeInfo *info = g_dbus_node_info_new_for_xml(introspection, NULL);

    (void)n_bytes;
    open_bus(where);
    if (!g_dbus_connection_register_object(bus, CALL_PATH, info->interfaces[0], &vtable, NULL, NULL,
                                           NULL))
        call_fail("GDBus: an object");
    call_say_ready(ready, g_dbus_connection_get_unique_name(bus));
    g_main_loop_run(g_main_loop_new(NULL, FALSE));
}

static void connect_bus(const char *where, const char *greeting)
{
    open_bus(where);
    snprintf(server, sizeof(server), "%s", greeting);
}

static void call(const char *question, size_t n_bytes, char *ret_answer)
{
    GVariant *argument = g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, question, n_bytes, 1);
    GVariant *reply = g_dbus_connection_call_sync(
        bus, server, CALL_PATH, CALL_INTERFACE, CALL_METHOD, g_variant_new("(@ay)", argument),
        G_VARIANT_TYPE("(ay)"), G_DBUS_CALL_FLAGS_NONE, -1, NULL, NULL);
    const char *data;
    gsize n;

    if (!reply)
        call_fail("GDBus: a call");
    argument = g_variant_get_child_value(reply, 0);
    data = g_variant_get_fixed_array(argument, &n, 1);
    memcpy(ret_answer, data, n < n_bytes ? n : n_bytes);
    g_variant_unref(argument);
    g_variant_unref(reply);
}

const struct call_kind call_gdbus = { "gdbus", serve, connect_bus, call };
