/* ipcfs-durable KIND WHERE MESSAGES BYTES SENDERS: sends through a queue that is kept, and receives what it sent.
 *
 * With no SENDERS (0) one caller sends and receives each message: prints the median and the 99.9th percentile of a send
 * and a receive in microseconds, and messages a second. Else so many callers send: prints messages a second, until the
 * last send has returned; then all is received. Each byte that is received is compared, and each message counted. Lines
 * are written 64 at a time.
 *
 * KIND: box, lines (WHERE: a mailbox's directory); redis-list, redis-stream (a server's socket); sqlite (a file),
 * sqlite-full; nats (a port). */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifdef HAVE_SQLITE
#include <sqlite3.h>
#endif
#ifdef HAVE_NATS
#include <nats/nats.h>
#endif

#define PATIENCE_MS 20000
#define LINES_AT_ONCE 64
#define SIZE_MAX_BYTES (1 << 20)

__attribute__((noreturn)) static void fail(const char *what)
{
    fprintf(stderr, "ipcfs-durable: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* One caller's way to the queue. */
struct way {
    const char *where;
    int send_fd;
    int receive_fd;
    FILE *stream; /* of a server */
    char *lines;
#ifdef HAVE_SQLITE
    sqlite3 *db;
    sqlite3_stmt *insert;
    sqlite3_stmt *take;
#endif
#ifdef HAVE_NATS
    natsConnection *connection;
    jsCtx *jetstream;
    natsSubscription *subscription;
#endif
};

struct kind {
    const char *name;
    void (*open)(struct way *way);
    void (*send)(struct way *way, const char *data, size_t n);
    /* Return: how long the next message is. */
    size_t (*receive)(struct way *way, char *data, size_t size);
    unsigned int n_at_once;       /* messages that one send sends */
    void (*end)(struct way *way); /* all has been received; NULL: nothing is to be done */
};

/* --- ipcfs --- */

static int open_file(const char *dir, const char *name, int flags)
{
    char path[4096];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    fd = open(path, flags);
    if (fd < 0)
        fail(path);
    return fd;
}

static void box_open(struct way *way)
{
    way->send_fd = open_file(way->where, "send", O_WRONLY);
    way->receive_fd = open_file(way->where, "recv", O_RDONLY | O_DIRECT);
}

static void lines_open(struct way *way)
{
    way->send_fd = open_file(way->where, "send.lines", O_WRONLY);
    way->receive_fd = open_file(way->where, "recv", O_RDONLY | O_DIRECT);
    way->lines = malloc((size_t)LINES_AT_ONCE * (SIZE_MAX_BYTES + 1));
    if (!way->lines)
        fail("lines");
}

static void box_send(struct way *way, const char *data, size_t n)
{
    if (write(way->send_fd, data, n) != (ssize_t)n)
        fail("send");
}

static void lines_send(struct way *way, const char *data, size_t n)
{
    for (size_t i = 0; i < LINES_AT_ONCE; i++) {
        memcpy(way->lines + i * (n + 1), data, n);
        way->lines[i * (n + 1) + n] = '\n';
    }
    box_send(way, way->lines, LINES_AT_ONCE * (n + 1));
}

static size_t box_receive(struct way *way, char *data, size_t size)
{
    ssize_t n = read(way->receive_fd, data, size);

    if (n < 0)
        fail("recv");
    return (size_t)n;
}

/* --- Redis, in its protocol --- */

static void redis_command(struct way *way, int n, const char *const *args, const size_t *sizes)
{
    fprintf(way->stream, "*%d\r\n", n);
    for (int i = 0; i < n; i++) {
        fprintf(way->stream, "$%zu\r\n", sizes[i]);
        fwrite(args[i], 1, sizes[i], way->stream);
        fputs("\r\n", way->stream);
    }
    fflush(way->stream);
}

/* Reads one answer; the last of its strings is kept in @data, and the first id of a stream in @id. Return: its length. */
static size_t redis_answer(struct way *way, char *data, size_t size, char id[64])
{
    char line[256];
    size_t n = 0;

    if (!fgets(line, sizeof(line), way->stream) || line[0] == '-')
        fail(line);
    if (line[0] == '*') {
        for (long left = strtol(line + 1, NULL, 10); left > 0; left--)
            n = redis_answer(way, data, size, id);
        return n;
    }
    if (line[0] != '$')
        return 0;
    n = strtoul(line + 1, NULL, 10);
    if (n + 2 > size || fread(data, 1, n + 2, way->stream) != n + 2)
        fail("Redis' answer");
    if (id && n < 64 && memchr(data, '-', n) && data[0] >= '0' && data[0] <= '9') {
        memcpy(id, data, n);
        id[n] = '\0';
    }
    return n;
}

static void redis_ask(struct way *way, int n, const char *const *words)
{
    char answer[4096];
    size_t sizes[16];

    for (int i = 0; i < n; i++)
        sizes[i] = strlen(words[i]);
    redis_command(way, n, words, sizes);
    redis_answer(way, answer, sizeof(answer), NULL);
}

static void redis_open(struct way *way)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", way->where);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        fail(way->where);
    way->stream = fdopen(fd, "r+");
    if (!way->stream)
        fail(way->where);
    setvbuf(way->stream, NULL, _IOFBF, 1 << 16);
}

static void redis_stream_open(struct way *way)
{
    const char *const group[] = { "XGROUP", "CREATE", "s", "g", "0", "MKSTREAM" };
    char answer[4096];

    redis_open(way);
    fprintf(way->stream, "*2\r\n$6\r\nEXISTS\r\n$1\r\ns\r\n");
    fflush(way->stream);
    if (!fgets(answer, sizeof(answer), way->stream))
        fail("Redis");
    if (strcmp(answer, ":0\r\n") == 0)
        redis_ask(way, 6, group);
}

static void redis_list_send(struct way *way, const char *data, size_t n)
{
    const char *const words[] = { "LPUSH", "q", data };
    const size_t sizes[] = { 5, 1, n };
    char answer[4096];

    redis_command(way, 3, words, sizes);
    redis_answer(way, answer, sizeof(answer), NULL);
}

static size_t redis_list_receive(struct way *way, char *data, size_t size)
{
    const char *const words[] = { "BRPOP", "q", "0" };
    const size_t sizes[] = { 5, 1, 1 };

    redis_command(way, 3, words, sizes);
    return redis_answer(way, data, size, NULL);
}

static void redis_stream_send(struct way *way, const char *data, size_t n)
{
    const char *const words[] = { "XADD", "s", "*", "m", data };
    const size_t sizes[] = { 4, 1, 1, 1, n };
    char answer[4096];

    redis_command(way, 5, words, sizes);
    redis_answer(way, answer, sizeof(answer), NULL);
}

static size_t redis_stream_receive(struct way *way, char *data, size_t size)
{
    static const char *const words[] = { "XREADGROUP", "GROUP", "g",       "c", "COUNT", "1",
                                         "BLOCK",      "0",     "STREAMS", "s", ">" };
    size_t sizes[11];
    char id[64] = "";
    const char *const ack[] = { "XACK", "s", "g", id };
    const char *const del[] = { "XDEL", "s", id };
    size_t n;

    for (int i = 0; i < 11; i++)
        sizes[i] = strlen(words[i]);
    redis_command(way, 11, words, sizes);
    n = redis_answer(way, data, size, id);
    redis_ask(way, 4, ack);
    redis_ask(way, 3, del);
    return n;
}

/* --- a queue in SQLite --- */

#ifdef HAVE_SQLITE
static void sqlite_must(struct way *way, int r, const char *what)
{
    if (r == SQLITE_OK || r == SQLITE_DONE || r == SQLITE_ROW)
        return;
    fprintf(stderr, "ipcfs-durable: SQLite: %s: %s\n", what, sqlite3_errmsg(way->db));
    exit(1);
}

static void sqlite_begin(struct way *way, const char *synchronous)
{
    sqlite_must(way, sqlite3_open(way->where, &way->db), "open");
    sqlite3_busy_timeout(way->db, PATIENCE_MS);
    sqlite_must(way, sqlite3_exec(way->db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL), "WAL");
    sqlite_must(way, sqlite3_exec(way->db, synchronous, NULL, NULL, NULL), synchronous);
    sqlite_must(way,
                sqlite3_exec(way->db,
                             "CREATE TABLE IF NOT EXISTS q (id INTEGER PRIMARY KEY, body BLOB)",
                             NULL, NULL, NULL),
                "table");
    sqlite_must(
        way, sqlite3_prepare_v2(way->db, "INSERT INTO q (body) VALUES (?)", -1, &way->insert, NULL),
        "insert");
    sqlite_must(way,
                sqlite3_prepare_v2(
                    way->db, "DELETE FROM q WHERE id = (SELECT min(id) FROM q) RETURNING body", -1,
                    &way->take, NULL),
                "delete");
}

static void sqlite_open(struct way *way)
{
    sqlite_begin(way, "PRAGMA synchronous=NORMAL");
}

static void sqlite_full_open(struct way *way)
{
    sqlite_begin(way, "PRAGMA synchronous=FULL");
}

static void sqlite_send(struct way *way, const char *data, size_t n)
{
    sqlite3_bind_blob(way->insert, 1, data, (int)n, SQLITE_STATIC);
    sqlite_must(way, sqlite3_step(way->insert), "insert");
    sqlite3_reset(way->insert);
}

static size_t sqlite_receive(struct way *way, char *data, size_t size)
{
    size_t n = 0;
    int r;

    while ((r = sqlite3_step(way->take)) == SQLITE_ROW) {
        n = (size_t)sqlite3_column_bytes(way->take, 0);
        if (n <= size && n > 0)
            memcpy(data, sqlite3_column_blob(way->take, 0), n);
    }
    sqlite_must(way, r, "delete");
    sqlite3_reset(way->take);
    return n;
}
#endif

/* --- JetStream --- */

#ifdef HAVE_NATS
static void nats_must(natsStatus status, const char *what)
{
    if (status == NATS_OK)
        return;
    fprintf(stderr, "ipcfs-durable: NATS: %s: %s\n", what, natsStatus_GetText(status));
    exit(1);
}

static void nats_open(struct way *way)
{
    jsStreamConfig config;
    const char *subjects[] = { "q" };
    jsErrCode code = 0;
    char url[64];
    natsStatus status;

    snprintf(url, sizeof(url), "nats://127.0.0.1:%s", way->where);
    nats_must(natsConnection_ConnectTo(&way->connection, url), "connect");
    nats_must(natsConnection_JetStream(&way->jetstream, way->connection, NULL), "JetStream");
    jsStreamConfig_Init(&config);
    config.Name = "q";
    config.Subjects = subjects;
    config.SubjectsLen = 1;
    config.Storage = js_FileStorage;
    config.Retention = js_WorkQueuePolicy;
    status = js_AddStream(NULL, way->jetstream, &config, NULL, &code);
    if (status != NATS_OK && code != JSStreamNameExistErr)
        nats_must(status, "stream");
}

static void nats_send(struct way *way, const char *data, size_t n)
{
    nats_must(js_Publish(NULL, way->jetstream, "q", data, (int)n, NULL, NULL), "publish");
}

static size_t nats_receive(struct way *way, char *data, size_t size)
{
    natsMsgList list;
    size_t n;

    if (!way->subscription)
        nats_must(js_PullSubscribe(&way->subscription, way->jetstream, "q", "d", NULL, NULL, NULL),
                  "subscribe");
    nats_must(natsSubscription_Fetch(&list, way->subscription, 1, PATIENCE_MS, NULL), "fetch");
    n = (size_t)natsMsg_GetDataLength(list.Msgs[0]);
    if (n <= size)
        memcpy(data, natsMsg_GetData(list.Msgs[0]), n);
    nats_must(natsMsg_Ack(list.Msgs[0], NULL), "acknowledge");
    natsMsgList_Destroy(&list);
    return n;
}
#endif

#ifdef HAVE_NATS
/* An acknowledgement that the server has not seen brings the message again. */
static void nats_end(struct way *way)
{
    nats_must(natsConnection_Flush(way->connection), "flush");
}
#endif

static const struct kind kinds[] = {
    { "box", box_open, box_send, box_receive, 1, NULL },
    { "lines", lines_open, lines_send, box_receive, LINES_AT_ONCE, NULL },
    { "redis-list", redis_open, redis_list_send, redis_list_receive, 1, NULL },
    { "redis-stream", redis_stream_open, redis_stream_send, redis_stream_receive, 1, NULL },
#ifdef HAVE_SQLITE
    { "sqlite", sqlite_open, sqlite_send, sqlite_receive, 1, NULL },
    { "sqlite-full", sqlite_full_open, sqlite_send, sqlite_receive, 1, NULL },
#endif
#ifdef HAVE_NATS
    { "nats", nats_open, nats_send, nats_receive, 1, nats_end },
#endif
};

/* --- measuring --- */

static double now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec * 1e-3;
}

static char *bytes_of(size_t n)
{
    char *data = malloc(n + 1);

    if (!data)
        fail("bytes");
    for (size_t i = 0; i < n; i++)
        data[i] = (char)('a' + i % 26);
    return data;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static void take_one(const struct kind *kind, struct way *way, char *got, const char *data,
                     size_t n)
{
    if (kind->receive(way, got, SIZE_MAX_BYTES) != n || memcmp(got, data, n) != 0) {
        errno = EBADMSG;
        fail("what was received is not what was sent");
    }
}

static void measure_one(const struct kind *kind, const char *where, size_t n_messages, size_t n)
{
    struct way way = { .where = where };
    double *times = malloc(n_messages * sizeof(*times));
    char *got = malloc(SIZE_MAX_BYTES);
    char *data = bytes_of(n);
    double began;

    if (!times || !got)
        fail("times");
    kind->open(&way);
    began = now_us();
    for (size_t i = 0; i < n_messages; i++) {
        double start = now_us();

        kind->send(&way, data, n);
        for (unsigned int k = 0; k < kind->n_at_once; k++)
            take_one(kind, &way, got, data, n);
        times[i] = now_us() - start;
    }
    began = now_us() - began;
    if (kind->end)
        kind->end(&way);
    qsort(times, n_messages, sizeof(*times), compare);
    printf("%.2f %.2f %.1f\n", times[n_messages / 2], times[n_messages - 1 - n_messages / 1000],
           (double)(n_messages * kind->n_at_once) / began * 1e6);
    free(times);
    free(got);
    free(data);
}

struct sender {
    const struct kind *kind;
    struct way way;
    size_t n_sends;
    size_t n_bytes;
    pthread_barrier_t *begin;
    pthread_t thread;
};

static void *send_all(void *arg)
{
    struct sender *sender = arg;
    char *data = bytes_of(sender->n_bytes);

    pthread_barrier_wait(sender->begin);
    for (size_t i = 0; i < sender->n_sends; i++)
        sender->kind->send(&sender->way, data, sender->n_bytes);
    free(data);
    return NULL;
}

static void measure_many(const struct kind *kind, const char *where, size_t n_messages, size_t n,
                         size_t n_senders)
{
    struct sender *senders = calloc(n_senders, sizeof(*senders));
    size_t n_sends = n_messages / n_senders / kind->n_at_once;
    char *got = malloc(SIZE_MAX_BYTES);
    char *data = bytes_of(n);
    pthread_barrier_t begin;
    double began;

    if (!senders || !got)
        fail("senders");
    pthread_barrier_init(&begin, NULL, (unsigned int)n_senders + 1);
    for (size_t i = 0; i < n_senders; i++) {
        senders[i] = (struct sender){ kind, { .where = where }, n_sends, n, &begin, 0 };
        kind->open(&senders[i].way);
        if (pthread_create(&senders[i].thread, NULL, send_all, &senders[i]) != 0)
            fail("thread");
    }
    pthread_barrier_wait(&begin);
    began = now_us();
    for (size_t i = 0; i < n_senders; i++)
        pthread_join(senders[i].thread, NULL);
    began = now_us() - began;
    for (size_t i = 0; i < n_sends * n_senders * kind->n_at_once; i++)
        take_one(kind, &senders[0].way, got, data, n);
    if (kind->end)
        kind->end(&senders[0].way);
    printf("%.1f\n", (double)(n_sends * n_senders * kind->n_at_once) / began * 1e6);
    free(senders);
    free(got);
    free(data);
}

int main(int argc, char **argv)
{
    for (size_t i = 0; argc == 6 && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        size_t n_senders = strtoul(argv[5], NULL, 10);

        if (strcmp(argv[1], kinds[i].name) != 0)
            continue;
        if (n_senders == 0)
            measure_one(&kinds[i], argv[2], strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10));
        else
            measure_many(&kinds[i], argv[2], strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10),
                         n_senders);
        return 0;
    }
    fputs("usage: ipcfs-durable KIND WHERE MESSAGES BYTES SENDERS\nkinds:", stderr);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        fprintf(stderr, " %s", kinds[i].name);
    fputs("\n", stderr);
    return 2;
}
