/* What the kernel and a FUSE server say to each other through io_uring: <linux/fuse.h> of version 7.42 (Linux
 * 6.14), for headers that are older, under names of ours. */
#ifndef IPCFS_FS_URING_ABI_H
#define IPCFS_FS_URING_ABI_H

#include <stdint.h>

/* Flags of FUSE_INIT that stand in flags2, where bit 32 is the first. */
#define URING_INIT_FLAGS2 (UINT32_C(1) << (41 - 32)) /* FUSE_OVER_IO_URING */

/* Commands of IORING_OP_URING_CMD on /dev/fuse. */
#define URING_CMD_REGISTER 1         /* here is an entry: fetch a request into it */
#define URING_CMD_COMMIT_AND_FETCH 2 /* the entry's request is answered: fetch the next */

/* In the second half of a submission of 128 bytes. */
struct uring_cmd {
    uint64_t flags;
    uint64_t commit_id; /* of what is answered */
    uint16_t queue_id;
    uint8_t padding[6];
};

/* One of the two parts of an entry; the other is the payload: what follows the operation's arguments in a
 * request, and all that follows the header in an answer. */
struct uring_header {
    char in_out[128]; /* struct fuse_in_header, or fuse_out_header */
    char op_in[128];  /* the operation's arguments */
    uint64_t flags;
    uint64_t commit_id;
    uint32_t payload_bytes;
    uint32_t padding;
    uint64_t reserved;
};

/* io_uring_register(2) without a ring: one message to another's, at once. Linux 6.13. */
#define URING_REGISTER_SEND_MSG_RING 31

#endif
