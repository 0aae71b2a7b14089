/* Who answers questions about processes that may keep one waiting.
 *
 * Whether somebody who claims a place in a ring lives can mostly be told at once (ipcring_os_look). But that
 * his pid is not another's by now only /proc/PID/stat knows, and who reads that waits while the process is
 * being executed anew, as long as that process likes. And whether somebody of another pid namespace lives
 * takes a look at all processes.
 *
 * So these questions are asked, and their answers fetched later; meanwhile he lives. A thread is stuck with
 * the processes of one user at most: questions about other users' have others, up to RING_JUDGES_MAX.
 * Looking through all processes is one thread's, for all rings together, in a part of its time.
 *
 * Ownership: a question is its asker's, and of the thread that is at it.
 * Context: any thread, with any lock held; nothing here waits but ring_judges_deinit(). */
#ifndef IPCFS_CORE_RING_JUDGES_H
#define IPCFS_CORE_RING_JUDGES_H

#include <stdint.h>

#define RING_JUDGES_MAX 32

struct ring_judges;
struct ring_question;

enum ring_verdict { RING_PENDING, RING_LIVES, RING_DEAD };

/* Return: NULL when memory is short. Starts no thread yet. */
struct ring_judges *ring_judges_new(void);

/* No question is left. Threads that are stuck are left to themselves. @judges may be NULL. */
void ring_judges_free(struct ring_judges *judges);

/* Asks about the claimer @id (ring_abi.h). @judges may be NULL. Return: NULL: it can't be asked now; later, maybe. */
struct ring_question *ring_judges_ask(struct ring_judges *judges, uint32_t id);

enum ring_verdict ring_question_verdict(struct ring_question *question);

/* @question may be NULL. */
void ring_question_drop(struct ring_question *question);

#endif
