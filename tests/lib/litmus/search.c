/* The exhaustive search is a walk in depth: each run follows the trail of the last one up to where it takes
 * another way. */
#include "search.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/fixture.h"

#define N_CHOICES_MAX 65536

struct taken {
    uint8_t way;
    uint8_t n_ways;
};

static struct taken trail[N_CHOICES_MAX];
static unsigned int n_trail; /* chosen before, to be chosen again */
static unsigned int n_now;
static unsigned int n_deviations;
static unsigned int n_deviations_max;

static bool is_random;
static uint64_t random_state;
static unsigned int one_in[3]; /* deviations of each kind */

void search_start_exhaustive(unsigned int n)
{
    is_random = false;
    n_trail = n_now = n_deviations = 0;
    n_deviations_max = n;
}

/* Some runs switch often and read what is new, some hardly ever switch and read what is old, and so on. */
void search_start_random(uint64_t seed)
{
    static const unsigned int switches[] = { 2, 4, 16, 64 };
    static const unsigned int reads[] = { 2, 4, 16, 256 };

    is_random = true;
    random_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (unsigned int i = 0; i < 8; i++)
        next_random(&random_state);
    one_in[CHOICE_SWITCH] = switches[next_random(&random_state) % 4];
    one_in[CHOICE_READ] = reads[next_random(&random_state) % 4];
    one_in[CHOICE_DEATH] = 64;
}

static unsigned int choose_at_random(enum choice choice, unsigned int n)
{
    uint64_t r = next_random(&random_state) >> 8;

    if (r % one_in[choice] != 0)
        return 0;
    return 1 + (unsigned int)(next_random(&random_state) >> 8) % (n - 1);
}

unsigned int search_choose(enum choice choice, unsigned int n)
{
    if (n < 2)
        return 0;
    if (is_random)
        return choose_at_random(choice, n);
    if (n_now == N_CHOICES_MAX)
        die("a run makes too many choices");
    if (n_now == n_trail)
        trail[n_trail++] = (struct taken){ 0, (uint8_t)n };
    if (trail[n_now].n_ways != n)
        die("a run can't be repeated: %u ways and not %u", n, trail[n_now].n_ways);
    n_deviations += trail[n_now].way > 0;
    return trail[n_now++].way;
}

/* The last choice that can be made otherwise is. */
bool search_next(void)
{
    if (is_random)
        return false;
    n_trail = n_now;
    while (n_trail > 0) {
        struct taken *last = &trail[n_trail - 1];
        bool deviated = last->way > 0;

        if (last->way + 1 < last->n_ways && (deviated || n_deviations < n_deviations_max)) {
            last->way++;
            n_now = n_deviations = 0;
            return true;
        }
        n_deviations -= deviated;
        n_trail--;
    }
    return false;
}
