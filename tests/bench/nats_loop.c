/* What ipcfs-nats is measured beside: a loop of cnats on the same server.
 *
 *   nats_loop publish URL SUBJECT N BYTES      publishes with a window of acknowledgements, as js_PublishAsync does
 *   nats_loop fetch URL SUBJECT DURABLE N      pulls in batches and acknowledges each message
 *   nats_loop latency URL SUBJECT N BYTES      publishes one and waits for it with a subscription of the core
 *
 * Prints seconds; latency prints each message's microseconds. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <nats/nats.h>

#define WINDOW 256
#define WAIT_MS 10000

static natsConnection *connection;
static jsCtx *jetstream;

static void must(natsStatus status, const char *what)
{
    if (status == NATS_OK)
        return;
    fprintf(stderr, "nats_loop: %s: %s\n", what, natsStatus_GetText(status));
    exit(1);
}

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static char *filled(int size)
{
    char *data = malloc((size_t)size + 1);

    if (!data)
        exit(1);
    return memset(data, 'x', (size_t)size + 1);
}

static void publish(const char *subject, int n, int size)
{
    char *data = filled(size);
    jsPubOptions options;
    double start = now_s();

    jsPubOptions_Init(&options);
    for (int i = 0; i < n; i++)
        must(js_PublishAsync(jetstream, subject, data, size, NULL), "publish");
    options.MaxWait = WAIT_MS;
    must(js_PublishAsyncComplete(jetstream, &options), "acknowledgements");
    printf("%f\n", now_s() - start);
    free(data);
}

static void fetch(const char *subject, const char *durable, int n)
{
    natsSubscription *subscription = NULL;
    double start;

    must(js_PullSubscribe(&subscription, jetstream, subject, durable, NULL, NULL, NULL),
         "subscribe");
    start = now_s();
    while (n > 0) {
        natsMsgList list;

        must(natsSubscription_Fetch(&list, subscription, n < WINDOW ? n : WINDOW, WAIT_MS, NULL),
             "fetch");
        n -= list.Count;
        for (int i = 0; i < list.Count; i++)
            must(natsMsg_Ack(list.Msgs[i], NULL), "acknowledge");
        natsMsgList_Destroy(&list);
    }
    must(natsConnection_Flush(connection), "flush");
    printf("%f\n", now_s() - start);
    natsSubscription_Destroy(subscription);
}

static void latency(const char *subject, int n, int size)
{
    natsSubscription *subscription = NULL;
    char *data = filled(size);

    must(natsConnection_SubscribeSync(&subscription, connection, subject), "subscribe");
    for (int i = 0; i < n; i++) {
        double start = now_s();
        natsMsg *msg = NULL;

        must(natsConnection_Publish(connection, subject, data, size), "publish");
        must(natsSubscription_NextMsg(&msg, subscription, WAIT_MS), "receive");
        printf("%f\n", (now_s() - start) * 1e6);
        natsMsg_Destroy(msg);
    }
    natsSubscription_Destroy(subscription);
    free(data);
}

int main(int argc, char **argv)
{
    jsOptions options;
    natsOptions *connect_options = NULL;

    if (argc != 6)
        return 2;
    must(natsOptions_Create(&connect_options), "options");
    must(natsOptions_SetURL(connect_options, argv[2]), "URL");
    must(natsOptions_SetSendAsap(connect_options, strcmp(argv[1], "latency") == 0), "options");
    must(natsConnection_Connect(&connection, connect_options), argv[2]);
    jsOptions_Init(&options);
    options.PublishAsync.MaxPending = WINDOW;
    options.PublishAsync.StallWait = WAIT_MS;
    must(natsConnection_JetStream(&jetstream, connection, &options), "JetStream");
    if (strcmp(argv[1], "publish") == 0)
        publish(argv[3], atoi(argv[4]), atoi(argv[5]));
    else if (strcmp(argv[1], "fetch") == 0)
        fetch(argv[3], argv[4], atoi(argv[5]));
    else
        latency(argv[3], atoi(argv[4]), atoi(argv[5]));
    jsCtx_Destroy(jetstream);
    natsConnection_Destroy(connection);
    natsOptions_Destroy(connect_options);
    nats_Close();
    return 0;
}
