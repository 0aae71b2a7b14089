#include "ring.h"

static const struct verb *const verbs[] = { &verb_ring_dump, &verb_ring_put, &verb_ring_get, NULL };

const struct verb verb_ring = { "ring", "Look into a ring, put messages in, get them out",
                                .verbs = verbs };
