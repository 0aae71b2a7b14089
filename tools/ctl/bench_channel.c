/* What transports have in common: names, descriptors, the size of rings. */
#include "bench_channel.h"

#include <errno.h>
#include <unistd.h>

#include "core/lib/ring_abi.h"
#include "util.h"

/* Of the rings: about this much memory, but few enough slots for any quota. */
#define RING_BYTES (2 << 20)
#define RING_SLOTS_MIN 16

static unsigned int n_made;

char *channel_make_name(void)
{
    return xasprintf("ipcctl-bench.%d.%u", (int)getpid(), n_made++);
}

int channel_no_attach(struct channel *channel)
{
    (void)channel;
    return 0;
}

int channel_no_flush(struct channel *channel)
{
    (void)channel;
    return 0;
}

int channel_read_whole(struct channel *channel, void *message)
{
    for (size_t n_read = 0; n_read < channel->size_bytes;) {
        ssize_t n = read(channel->recv_fd, (char *)message + n_read, channel->size_bytes - n_read);

        if (n <= 0)
            return n < 0 ? -errno : -EPIPE;
        n_read += (size_t)n;
    }
    return 0;
}

int channel_fd_send(struct channel *channel, const void *message)
{
    ssize_t n = write(channel->send_fd, message, channel->size_bytes);

    return n < 0 ? -errno : (size_t)n == channel->size_bytes ? 0 : -EIO;
}

int channel_fd_receive(struct channel *channel, void *message)
{
    ssize_t n = read(channel->recv_fd, message, channel->size_bytes);

    return n < 0 ? -errno : (size_t)n == channel->size_bytes ? 0 : -EIO;
}

void channel_close_fds(struct channel *channel)
{
    if (channel->send_fd >= 0)
        close(channel->send_fd);
    if (channel->recv_fd >= 0 && channel->recv_fd != channel->send_fd)
        close(channel->recv_fd);
}

size_t channel_slot_bytes(size_t size_bytes)
{
    size_t n = (size_bytes + IPCRING_WORD_BYTES + 7) & ~(size_t)7;

    return n < IPCRING_SLOT_BYTES_MIN ? IPCRING_SLOT_BYTES_MIN : n;
}

size_t channel_n_slots(size_t size_bytes)
{
    size_t n = RING_SLOTS_MIN;

    while (2 * n * channel_slot_bytes(size_bytes) <= RING_BYTES)
        n *= 2;
    return n;
}
