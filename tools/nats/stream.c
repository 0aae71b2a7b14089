/* Questions to JetStream that are asked once, when a mapping starts and after it failed: with the library's own calls, which
 * wait, and so in a thread of their own (carrier.h). Owns nothing. */
#include "stream.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "carrier.h"
#include "log.h"
#include "server.h"

#define NS_PER_S INT64_C(1000000000)

char *stream_encode(const char *prefix, const char *text)
{
    char *name = xrealloc(NULL, strlen(prefix) + 3 * strlen(text) + 1, 1);
    char *end = stpcpy(name, prefix);

    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (isalnum(c) || c == '-')
            *end++ = (char)c;
        else if (c == '.')
            *end++ = '_';
        else
            end += sprintf(end, "=%02X", c);
    }
    *end = '\0';
    return name;
}

/* What the server or the library said, and whether it may pass. */
static int stream_failed(natsStatus status, jsErrCode code, const char *doing, const char *what,
                         char **ret_why)
{
    const char *detail = nats_GetLastError(NULL);
    bool may_pass = status == NATS_TIMEOUT || status == NATS_CONNECTION_CLOSED ||
                    status == NATS_CONNECTION_DISCONNECTED || status == NATS_NO_RESPONDERS ||
                    code == JSClusterNotAvailErr || code == JSClusterNoPeersErr ||
                    code == JSInsufficientResourcesErr || code == JSClusterNotActiveErr ||
                    code == JSClusterNotLeaderErr || code == JSTempStorageFailedErr;

    if (code == JSNotEnabledErr || code == JSNotEnabledForAccountErr) {
        /* Where it was there before, it comes again. */
        may_pass = server_generation() > 1;
        detail = "the server has no JetStream for this user";
    }
    *ret_why = xasprintf("%s %s: %s", doing, what,
                         detail && *detail ? detail : natsStatus_GetText(status));
    return may_pass ? -EAGAIN : -EINVAL;
}

/* Return: 0, *@ret_name NULL where no stream has the subject. */
static int stream_find(const char *subject, char **ret_name, char **ret_why)
{
    jsStreamNamesList *list = NULL;
    jsErrCode code = 0;
    jsOptions options;
    natsStatus status;

    jsOptions_Init(&options);
    options.Stream.Info.SubjectsFilter = subject;
    *ret_name = NULL;
    status = js_StreamNames(&list, server_jetstream(), &options, &code);
    if (status == NATS_NOT_FOUND && !code)
        return 0;
    if (status != NATS_OK)
        return stream_failed(status, code, "looking for the stream of", subject, ret_why);
    if (list->Count)
        *ret_name = xstrdup(list->List[0]);
    jsStreamNamesList_Destroy(list);
    return 0;
}

static const char *stream_fault(const jsStreamInfo *info, enum mapping_kind kind)
{
    const jsStreamConfig *config = info->Config;

    if (config->NoAck && kind != MAPPING_IMPORT)
        return "acknowledges nothing (no_ack), so a message could be lost";
    if (config->Sealed && kind != MAPPING_IMPORT)
        return "is sealed: it takes no messages";
    if (info->Mirror && kind != MAPPING_IMPORT)
        return "is a mirror: it takes no messages";
    if (config->Retention == js_WorkQueuePolicy && kind == MAPPING_TOPIC)
        return "is a work queue: each message goes to one host only";
    return NULL;
}

static int stream_check(const char *name, enum mapping_kind kind, char **ret_why)
{
    jsStreamInfo *info = NULL;
    jsErrCode code = 0;
    const char *fault;
    natsStatus status = js_GetStreamInfo(&info, server_jetstream(), name, NULL, &code);

    if (status != NATS_OK)
        return stream_failed(status, code, "looking at the stream", name, ret_why);
    fault = stream_fault(info, kind);
    jsStreamInfo_Destroy(info);
    if (!fault)
        return 0;
    *ret_why = xasprintf("the stream %s %s", name, fault);
    return -EINVAL;
}

static int stream_make(const struct stream_want *want, char **ret_name, char **ret_why)
{
    const char *subjects[] = { want->subject };
    char *name = stream_encode("ipcfs_", want->subject);
    jsStreamConfig config;
    jsErrCode code = 0;
    natsStatus status;

    jsStreamConfig_Init(&config);
    config.Name = name;
    config.Description = "made by ipcfs-nats";
    config.Subjects = subjects;
    config.SubjectsLen = 1;
    config.Retention = want->kind == MAPPING_TOPIC ? js_InterestPolicy : js_WorkQueuePolicy;
    config.Storage = js_FileStorage;
    config.Discard = js_DiscardNew;
    config.Replicas = want->settings->replicas;
    config.MaxAge = want->settings->max_age_s * NS_PER_S;
    config.Duplicates = want->settings->duplicates_s * NS_PER_S;
    if (config.MaxAge && config.Duplicates > config.MaxAge)
        config.Duplicates = config.MaxAge;
    status = js_AddStream(NULL, server_jetstream(), &config, NULL, &code);
    if (status == NATS_OK) {
        *ret_name = name;
        return 0;
    }
    free(name);
    return stream_failed(status, code, "making a stream of", want->subject, ret_why);
}

static int stream_ask(const struct stream_want *want, char **ret_name, char **ret_why)
{
    char *name;
    int r = stream_find(want->subject, &name, ret_why);

    if (r < 0)
        return r;
    if (!name) {
        if (strpbrk(want->subject, "*>")) {
            *ret_why = xasprintf("no stream has %s, and one of a wildcard is not made here",
                                 want->subject);
            return -EINVAL;
        }
        return stream_make(want, ret_name, ret_why);
    }
    r = stream_check(name, want->kind, ret_why);
    if (r < 0)
        free(name);
    else
        *ret_name = name;
    return r;
}

static int consumer_ask(const char *stream, const char *durable, const struct stream_want *want,
                        struct consumer *ret, char **ret_why)
{
    jsConsumerInfo *info = NULL;
    jsConsumerConfig config;
    jsErrCode code = 0;
    natsStatus status = js_GetConsumerInfo(&info, server_jetstream(), stream, durable, NULL, &code);

    if (status == NATS_OK) {
        bool can_serve = info->Config->AckPolicy == js_AckExplicit && !info->Config->DeliverSubject;

        *ret = (struct consumer){ info->Created, info->Config->AckWait };
        jsConsumerInfo_Destroy(info);
        if (can_serve)
            return 0;
        *ret_why = xasprintf("the consumer %s of %s does not pull and acknowledge each message",
                             durable, stream);
        return -EINVAL;
    }
    if (status != NATS_NOT_FOUND)
        return stream_failed(status, code, "looking at the consumer", durable, ret_why);
    jsConsumerConfig_Init(&config);
    config.Durable = durable;
    config.Description = "made by ipcfs-nats";
    config.AckPolicy = js_AckExplicit;
    config.AckWait = STREAM_ACK_WAIT_S * NS_PER_S;
    config.MaxAckPending = want->settings->window;
    config.FilterSubject = want->subject;
    /* A queue's messages are all to be had; a topic's are those from now on. */
    config.DeliverPolicy = want->kind == MAPPING_TOPIC ? js_DeliverNew : js_DeliverAll;
    status = js_AddConsumer(&info, server_jetstream(), stream, &config, NULL, &code);
    if (status != NATS_OK)
        return stream_failed(status, code, "making a consumer of", stream, ret_why);
    *ret = (struct consumer){ info->Created, config.AckWait };
    jsConsumerInfo_Destroy(info);
    return 0;
}

static int consumer_ask_state(const char *stream, const char *durable, struct consumer_state *ret)
{
    jsConsumerInfo *info = NULL;
    jsErrCode code = 0;
    natsStatus status = js_GetConsumerInfo(&info, server_jetstream(), stream, durable, NULL, &code);

    if (status == NATS_NOT_FOUND)
        return -ENOENT;
    if (status != NATS_OK)
        return -EAGAIN;
    *ret = (struct consumer_state){
        .n_ack_pending = (uint64_t)info->NumAckPending,
        .ack_floor = info->AckFloor.Stream,
        .n_pending = info->NumPending,
        .n_delivered = info->Delivered.Consumer,
    };
    jsConsumerInfo_Destroy(info);
    return 0;
}

/* --- aside --- */

struct question {
    const char *stream;
    const char *durable;
    const struct stream_want *want;
    char **ret_name;
    char **ret_why;
    struct consumer *ret_consumer;
    struct consumer_state *ret_state;
    int r;
};

static void question_of_stream(void *closure)
{
    struct question *q = closure;

    q->r = stream_ask(q->want, q->ret_name, q->ret_why);
}

static void question_of_consumer(void *closure)
{
    struct question *q = closure;

    q->r = consumer_ask(q->stream, q->durable, q->want, q->ret_consumer, q->ret_why);
}

static void question_of_state(void *closure)
{
    struct question *q = closure;

    q->r = consumer_ask_state(q->stream, q->durable, q->ret_state);
}

int stream_open(const struct stream_want *want, char **ret_name, char **ret_why)
{
    struct question q = { .want = want, .ret_name = ret_name, .ret_why = ret_why };

    carrier_aside(question_of_stream, &q);
    return q.r;
}

int consumer_open(const char *stream, const char *durable, const struct stream_want *want,
                  struct consumer *ret, char **ret_why)
{
    struct question q = {
        .stream = stream, .durable = durable, .want = want, .ret_consumer = ret, .ret_why = ret_why
    };

    carrier_aside(question_of_consumer, &q);
    return q.r;
}

int consumer_look(const char *stream, const char *durable, struct consumer_state *ret)
{
    struct question q = { .stream = stream, .durable = durable, .ret_state = ret };

    carrier_aside(question_of_state, &q);
    return q.r;
}
