/* The layout of a ring's map, for every program in every language. ipcfs-ring(7) says it in words.
 *
 * A ring is a bounded buffer in one shared file. Producers put messages in at head, consumers take
 * them out at tail; both are positions, free-running 64-bit counters that wrap, compared by their
 * difference. Position P lies in slot P % slots, in lap P / slots + 1.
 *
 * A slot is one 8-byte word and a payload. The word alone publishes: bits 34-63 are the lap, modulo
 * 2^30, bits 32-33 the state, bits 0-31 the message's length or, while claimed, the claimer. For
 * the position P, in lap L, a slot's word goes
 *
 *   (L-1, FULL or SKIP) ──> (L, CLAIMED by ID) ──> (L, FULL, length)      published
 *                                        └───────> (L, SKIP)              given up, or its claimer died
 *
 * and with one producer straight from the first to FULL. L-1 there means: free once tail has passed
 * P - slots. Consumers don't write slots, save to skip a dead claimer's.
 *
 *   produce: head - tail < slots (D); claim (E); advance head; write the payload; publish (A);
 *            look for sleepers (H)
 *   consume: the word is FULL in tail's lap (B); copy the payload; advance tail (C); look for
 *            sleepers (H)
 *
 * A ring whose consumers each see everything (version 2, IPCRING_EACH_CONSUMER) has no tail: every consumer has a position
 * of its own, from head on when it came, and no producer waits for any. A word in a later lap than a consumer's
 * position tells it that it was overtaken: then it goes on with the oldest there is, head - slots. Here one producer
 * claims too, by a plain store, so that who reads a payload that is being written again finds out:
 *
 *   produce: claim (E, or a plain store); a fence (O); advance head; write the payload; publish (A); look for
 *            sleepers (H)
 *   consume: the word is FULL in the position's lap (B); copy the payload; a fence (P); the word is still the same
 *
 * A producer waits there for another only, who has claimed the same slot a lap ago and has not published yet: so who
 * publishes looks for sleeping producers too.
 *
 * Who dies before E has done nothing, before A has left a claim that anyone who can judge its
 * claimer turns into SKIP, before C has taken nothing. Who dies before H has left a sleeper that was
 * not told: so nobody sleeps longer than IPCRING_SLEEP_NS at a time.
 *
 * The orderings. Each is a pair; the letter stands at each site of the library.
 *
 *   A  publish: store-release of the slot's word (one producer), or compare-and-swap, seq_cst (many)
 *      with B: the payload was written before the word says FULL.
 *   B  load-acquire of the slot's word, before the payload is read.
 *   C  store-release of tail (one consumer) or compare-and-swap, seq_cst (many), after the copy
 *      with D: the payload was read before it is written again.
 *   D  load-acquire of tail, before a slot is claimed or written.
 *   E  claim: compare-and-swap of the slot's word, acq_rel
 *      with F: who sees the claim sees head no older than its claimer did; a word that fits neither
 *      head nor tail, neither of which has moved, is then no race but damage.
 *   F  load-acquire of the slot's word by a producer.
 *   G  sleep: set bit 0 of the wait word, seq_cst; membarrier; look again; futex wait
 *      with H: either the sleeper sees the change or the changer sees bit 0.
 *   H  wake: after A or C load the wait word. Between the two a full fence, or none in a process
 *      that has registered with MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED: G's membarrier is it.
 *   I  format: store-release of magic, last
 *      with J: who sees the magic sees the geometry and the words.
 *   J  load-acquire of magic, first.
 *   K  take and give back a role: compare-and-swap, acq_rel, with itself: the successor sees what the
 *      one before did.
 *   L  advance head (many producers): compare-and-swap, release, after E or F
 *      with M: who sees that head has passed a position sees that it is claimed; a word that is older
 *      is then no race but damage.
 *   M  load-acquire of head by a producer, before F.
 *   N  load-acquire of tail by a consumer, before B
 *      with C: who sees that tail has passed a position sees what its mover saw there; a word that is
 *      older is then no race but damage.
 *
 *   O  release fence between the claim and the first byte of the payload
 *      with P: who has read a byte of the new payload sees the claim, or a later word.
 *   P  acquire fence between the last byte of the payload and the second load of the word.
 *
 * All numbers are little-endian. Whoever maps a ring can write anything into it: keep a copy of the
 * geometry, load each shared word once, check it, use the copy.
 *
 * Context: any thread; the functions compute from their arguments alone. */
#ifndef IPCFS_CORE_RING_ABI_H
#define IPCFS_CORE_RING_ABI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define IPCRING_MAGIC UINT64_C(0x474e495246435049) /* the bytes IPCFRING */
#define IPCRING_VERSION 1U
/* Of a ring whose consumers each see everything; all others have IPCRING_VERSION. */
#define IPCRING_VERSION_EACH 2U

/* Geometry, written once. */
#define IPCRING_AT_MAGIC 0          /* u64 */
#define IPCRING_AT_VERSION 8        /* u32 */
#define IPCRING_AT_FLAGS 12         /* u32, IPCRING_ONE_*, IPCRING_EACH_CONSUMER */
#define IPCRING_AT_SLOTS 16         /* u32, a power of two */
#define IPCRING_AT_SLOT_BYTES 20    /* u32, a multiple of 8, with the slot's word */
#define IPCRING_AT_SLOTS_OFFSET 24  /* u64, where slot 0 is */
#define IPCRING_AT_MAP_BYTES 32     /* u64, the whole map */
#define IPCRING_AT_PID_NAMESPACE 40 /* u64, st_ino of /proc/self/ns/pid of who can judge claimers */

/* Words that change, each on 128 bytes of its own: processors fetch lines of 64 in pairs. */
#define IPCRING_AT_HEAD 4096     /* u64, the producers' */
#define IPCRING_AT_PRODUCER 4104 /* u32, one producer: its ID, 0: none */
#define IPCRING_AT_TAIL 4224 /* u64, the consumers'; where each sees everything, the daemon's own */
#define IPCRING_AT_CONSUMER 4232   /* u32, one consumer: its ID, 0: none */
#define IPCRING_AT_WAIT_DATA 4352  /* u32, where consumers sleep */
#define IPCRING_AT_WAIT_SPACE 4480 /* u32, where producers sleep */
#define IPCRING_AT_OWNER 4608      /* u32, whether who made the ring lives; 0: not known */

#define IPCRING_AT_SLOT_0 8192 /* what IPCRING_AT_SLOTS_OFFSET says in this version */

#define IPCRING_ONE_PRODUCER 1U
#define IPCRING_ONE_CONSUMER 2U
#define IPCRING_FLAGS (IPCRING_ONE_PRODUCER | IPCRING_ONE_CONSUMER)
/* Version 2 has this one, and may have IPCRING_ONE_PRODUCER. */
#define IPCRING_EACH_CONSUMER 4U

#define IPCRING_SLOTS_MIN 2U
#define IPCRING_SLOTS_MAX (1U << 24)
#define IPCRING_SLOT_BYTES_MIN 16U
#define IPCRING_SLOT_BYTES_MAX (1U << 20)
#define IPCRING_WORD_BYTES 8U

/* A slot's word. 0, as in fresh memory, is SKIP in the lap before the first. */
#define IPCRING_SKIP 0U
#define IPCRING_FULL 1U
#define IPCRING_CLAIMED 2U
#define IPCRING_LAP_MASK 0x3fffffffU

/* Who claims: bits 0-21 the pid, bits 22-30 1 + starttime % 511 (field 22 of /proc/PID/stat; 0: not
 * known), by the first time namespace's clock, so that a pid that is used again is told from its predecessor. Bit 31: the pid is of
 * another namespace than the geometry's, and clients don't judge it. */
#define IPCRING_ID_PID 0x3fffffU
#define IPCRING_ID_START_SHIFT 22
#define IPCRING_ID_START 0x1ffU
#define IPCRING_ID_START_MODULUS 511U
#define IPCRING_ID_FOREIGN 0x80000000U

/* A wait word. To wake: if bit 0 is set, compare-and-swap it to the next even number below bit 31,
 * which stays as it is; then FUTEX_WAKE all, not private. */
#define IPCRING_SLEEPERS 1U        /* bit 0: somebody sleeps */
#define IPCRING_CLOSED 0x80000000U /* the ring was removed or replaced: EIDRM */

/* The owner's word is a robust futex's (set_robust_list(2)) that the kernel changes when the owner ends without
 * having closed the ring. Who is about to sleep and finds that bit gets EIDRM instead; who found the ring empty then
 * closes it for all, as its owner would have. */
#define IPCRING_OWNER_DIED                                                                         \
    0x40000000U /* bit 30, FUTEX_OWNER_DIED; bits 0-29: a thread of the owner's */

#define IPCRING_SLEEP_NS 200000000 /* nobody sleeps longer without looking again */
#define IPCRING_JUDGE_NS 5000000   /* nor longer than this while a claim is in the way */

/* Return: the lap of position @pos in a ring of 2^@order slots. */
static inline uint32_t ipcring_lap(uint64_t pos, unsigned int order)
{
    return (uint32_t)((pos >> order) + 1) & IPCRING_LAP_MASK;
}

static inline uint64_t ipcring_word(uint32_t lap, uint32_t state, uint32_t low)
{
    return (uint64_t)(((lap & IPCRING_LAP_MASK) << 2) | state) << 32 | low;
}

static inline uint32_t ipcring_word_lap(uint64_t word)
{
    return (uint32_t)(word >> 34);
}

static inline uint32_t ipcring_word_state(uint64_t word)
{
    return (uint32_t)(word >> 32) & 3U;
}

static inline uint32_t ipcring_word_low(uint64_t word)
{
    return (uint32_t)word;
}

#ifdef __cplusplus
}
#endif

#endif
