/* Lets Criterion run under ThreadSanitizer.
 *
 * Criterion shares memory with the processes that run its tests, at an address that it picks with
 * rand_r between 0x200000000000 and 0x600000000000, as 0x200000000000 + (rand_r() << 24).
 * ThreadSanitizer refuses programs all of that but the part where position-independent programs
 * lie, from 0x550000000000 to 0x568000000000. This rand_r takes libc's place and stays in there:
 * an address that is in use makes Criterion ask again. */
#include <stdint.h>
#include <stdlib.h>

#define CRITERION_BASE UINT64_C(0x200000000000)
#define CRITERION_SHIFT 24
#define ALLOWED_BASE UINT64_C(0x550000000000)
#define ALLOWED_END UINT64_C(0x568000000000)

int rand_r(unsigned int *seed)
{
    const unsigned int first = (ALLOWED_BASE - CRITERION_BASE) >> CRITERION_SHIFT;
    const unsigned int n = (ALLOWED_END - ALLOWED_BASE) >> CRITERION_SHIFT;

    *seed = *seed * 1103515245U + 12345U;
    /* The last eighth stays free, for the memory's own length. */
    return (int)(first + (*seed >> 8) % (n - n / 8));
}
