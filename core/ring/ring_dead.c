/* Who holds a ring up is suspected first, then looked at, and asked about where looking does not tell (ring_judges.h). The
 * suspicion is the ring's; a question's answer comes later, to whoever looks again. */
#include "ring_dead.h"

#include <stdlib.h>

#include "core/base/clock.h"
#include "core/lib/ring_os.h"

bool ring_mbox_is_each(const struct ring_mbox *ring)
{
    return ring->memory->geometry.flags & IPCRING_EACH_CONSUMER;
}

uint64_t ring_mbox_count_changes(struct ring_mbox *ring, bool *ret_more)
{
    struct ring_memory *memory = ring->memory;
    uint64_t id;

    *ret_more = false;
    if (!memory)
        return atomic_load(&ring->n_changes);
    ring->published = ring_find_published(memory->map, &memory->geometry, ring->published,
                                          ret_more);
    id = ring->published + ring->n_rung;
    if (!ring_mbox_is_each(ring))
        id += ring_tail(memory->map);
    atomic_store(&ring->n_changes, id);
    return id;
}

/* --- The dead --- */

static pid_t ring_dead_pid_of(uint32_t id)
{
    return (pid_t)(id & IPCRING_ID_PID);
}

/* Most claims are published in no time: about one that was seen just now nobody is asked. */
#define SUSPECT_NS 1000000

/* Where the kernel has no numbers for processes that they are told apart by, it is asked again after so long whether
 * the pid is another's by now. */
#define KNOWN_NS 1000000000

/* What was not seen for so long may have been gone in between, and be another's of the same name. */
#define UNSEEN_NS 1000000000

static void forget_suspect(struct ring_suspect *suspect)
{
    ring_question_drop(suspect->question);
    *suspect = (struct ring_suspect){ 0 };
}

/* Return: whether it is said to be dead; where it is said to live, when that was is noted. */
static bool fetch_verdict(struct ring_suspect *suspect, uint64_t now)
{
    enum ring_verdict verdict = ring_question_verdict(suspect->question);

    if (verdict == RING_PENDING)
        return false;
    ring_question_drop(suspect->question);
    suspect->question = NULL;
    suspect->since_ns = now;
    suspect->is_known = verdict == RING_LIVES;
    return verdict == RING_DEAD;
}

/* Return: whether who has the suspect's pid now is dead, or another than who had it first. */
static bool is_gone(struct ring_suspect *suspect, uint32_t id)
{
    enum ipcring_os_life life;
    uint64_t ino;

    if (id & IPCRING_ID_FOREIGN)
        return false;
    life = ipcring_os_look(ring_dead_pid_of(id), &ino);
    if (life == IPCRING_OS_DEAD || (suspect->ino != 0 && ino != 0 && ino != suspect->ino))
        return true;
    suspect->ino = ino;
    return false;
}

/* Return: how long after since_ns there is something to be asked. */
static uint64_t patience_with(const struct ring_suspect *suspect, uint32_t id)
{
    if (!suspect->is_known || id & IPCRING_ID_FOREIGN)
        return SUSPECT_NS;
    return suspect->ino != 0 ? UINT64_MAX : KNOWN_NS;
}

/* Under lock, and never waits. An answer that comes later is there for who looks again. */
static bool ring_dead_judge(void *arg, enum ring_claim claim, uint64_t what)
{
    struct ring_mbox *ring = arg;
    struct ring_suspect *suspect = &ring->suspects[claim];
    uint32_t id = ipcring_word_low(what);
    uint64_t now = clock_now_ns();

    if (suspect->what != what || now - suspect->seen_ns > UNSEEN_NS) {
        forget_suspect(suspect);
        suspect->what = what;
        suspect->since_ns = now;
    }
    suspect->seen_ns = now;
    if (is_gone(suspect, id) || (suspect->question && fetch_verdict(suspect, now))) {
        forget_suspect(suspect);
        return true;
    }
    if (!suspect->question && now - suspect->since_ns >= patience_with(suspect, id))
        suspect->question = ring_judges_ask(ring->judges, id);
    return false;
}

unsigned int ring_mbox_bury(struct ring_mbox *ring)
{
    bool more;

    /* The claim that is in the way is the first thing that is not published. */
    if (ring_mbox_is_each(ring))
        ring_mbox_count_changes(ring, &more);
    return ring_bury(ring->memory->map, &ring->memory->geometry, ring_dead_judge, ring);
}

void ring_mbox_forget_suspects(struct ring_mbox *ring)
{
    for (unsigned int i = 0; i < RING_N_CLAIMS; i++)
        forget_suspect(&ring->suspects[i]);
}
