/* Greetings go to `_IPCFS.importers.DURABLE.TIME`, with the importer's name as their text, for NATS gives a client what it has
 * sent itself; answers go to whom they answer. */
#include "others.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "loop.h"

static bool others_is_own(const struct others *others, natsMsg *msg)
{
    size_t n = strlen(others->answers.subject);

    return (size_t)natsMsg_GetDataLength(msg) == n &&
           memcmp(natsMsg_GetData(msg), others->answers.subject, n) == 0;
}

static void others_greeted(struct inbox *inbox, const char *part, natsMsg *msg)
{
    struct others *others = container_of(inbox, struct others, room);

    (void)part;
    if (!others_is_own(others, msg)) {
        if (natsMsg_GetReply(msg))
            server_ask(natsMsg_GetReply(msg), NULL, NULL, 0);
        others->heard(others);
    }
    server_release(msg);
}

static void others_answered(struct inbox *inbox, const char *part, natsMsg *msg)
{
    struct others *others = container_of(inbox, struct others, answers);

    (void)part;
    others->heard(others);
    server_release(msg);
}

int others_init(struct others *others, void (*heard)(struct others *others))
{
    *others = (struct others){ .heard = heard };
    return inbox_open(&others->answers, false, others_answered, NULL);
}

void others_deinit(struct others *others)
{
    inbox_close(&others->room);
    inbox_close(&others->answers);
}

void others_enter(struct others *others, const char *durable, int64_t created_ns)
{
    char *subject = xasprintf(SERVER_OPTIONAL "importers.%s.%" PRId64, durable, created_ns);

    if (others->room.subject && strcmp(others->room.subject, subject) == 0) {
        free(subject);
        return;
    }
    inbox_close(&others->room);
    inbox_open_at(&others->room, subject, others_greeted);
}

void others_greet(const struct others *others)
{
    const char *name = others->answers.subject;

    if (others->room.subject)
        server_ask(others->room.subject, name, name, strlen(name));
}
