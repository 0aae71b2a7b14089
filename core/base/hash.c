#include "hash.h"

#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>

#include "siphash.h"

/* Written once, before main(). */
static unsigned char key[SIPHASH_KEY_BYTES];

/* Early in a boot there may be no randomness yet, and some systems forbid the call: the kernel gives each
 * program as many random bytes anyway. */
__attribute__((constructor)) static void choose_key(void)
{
    const void *given = (const void *)getauxval(AT_RANDOM);

    if (getrandom(key, sizeof(key), GRND_NONBLOCK) != (ssize_t)sizeof(key) && given)
        memcpy(key, given, sizeof(key));
}

unsigned int hash_of(const void *data, size_t size)
{
    return (unsigned int)siphash(key, data, size);
}
