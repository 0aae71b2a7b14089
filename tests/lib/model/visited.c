#include "visited.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/fixture.h"

struct key {
    uint64_t a;
    uint64_t b; /* both 0: free */
};

struct visited {
    size_t state_bytes;
    struct key *keys;
    size_t n_keys;
    size_t n_used;
    char *waiting;
    size_t n_waiting;
    size_t room;
};

static uint64_t mix(uint64_t x)
{
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    return x ^ x >> 32;
}

static struct key hash(const void *state, size_t n)
{
    struct key key = { 1, 2 };

    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = 0;

        memcpy(&word, (const char *)state + i, n - i < 8 ? n - i : 8);
        key.a = mix(key.a ^ word);
        key.b = mix(key.b + word * UINT64_C(0x9e3779b97f4a7c15));
    }
    key.b |= 1;
    return key;
}

static void *allocate(size_t n, size_t size)
{
    void *p = calloc(n, size);

    if (!p)
        die("out of memory");
    return p;
}

struct visited *visited_new(size_t state_bytes)
{
    struct visited *v = allocate(1, sizeof(*v));

    v->state_bytes = state_bytes;
    v->n_keys = 1 << 16;
    v->keys = allocate(v->n_keys, sizeof(*v->keys));
    v->room = 1024;
    v->waiting = allocate(v->room, state_bytes);
    return v;
}

void visited_free(struct visited *v)
{
    free(v->keys);
    free(v->waiting);
    free(v);
}

/* Return: whether it is new. */
static bool insert(struct key *keys, size_t n_keys, struct key key)
{
    size_t i = key.a & (n_keys - 1);

    while (keys[i].b != 0) {
        if (keys[i].a == key.a && keys[i].b == key.b)
            return false;
        i = (i + 1) & (n_keys - 1);
    }
    keys[i] = key;
    return true;
}

static void grow(struct visited *v)
{
    size_t n_keys = v->n_keys * 2;
    struct key *keys = allocate(n_keys, sizeof(*keys));

    for (size_t i = 0; i < v->n_keys; i++)
        if (v->keys[i].b != 0)
            insert(keys, n_keys, v->keys[i]);
    free(v->keys);
    v->keys = keys;
    v->n_keys = n_keys;
}

void visited_add(struct visited *v, const void *state)
{
    if (v->n_used * 2 > v->n_keys)
        grow(v);
    if (!insert(v->keys, v->n_keys, hash(state, v->state_bytes)))
        return;
    v->n_used++;
    if (v->n_waiting == v->room) {
        v->room *= 2;
        v->waiting = realloc(v->waiting, v->room * v->state_bytes);
        if (!v->waiting)
            die("out of memory");
    }
    memcpy(v->waiting + v->n_waiting++ * v->state_bytes, state, v->state_bytes);
}

bool visited_next(struct visited *v, void *ret_state)
{
    if (v->n_waiting == 0)
        return false;
    memcpy(ret_state, v->waiting + --v->n_waiting * v->state_bytes, v->state_bytes);
    return true;
}

size_t visited_count(const struct visited *v)
{
    return v->n_used;
}
