/* Places are in an array by position, with gaps where names went, which are closed when they are more than half.
 * So a name is found by its position in as many steps as the array has bits. */
#include "shm_order.h"

#include <errno.h>
#include <stdlib.h>

#include "shm_name.h"

#define PLACES_MIN 8

void shm_order_deinit(struct shm_order *order)
{
    free(order->places);
}

static int shm_order_resize(struct shm_order *order, size_t n)
{
    struct shm_place *places = reallocarray(order->places, n, sizeof(*places));

    if (!places)
        return -ENOMEM;
    order->places = places;
    order->n_allocated = n;
    return 0;
}

int shm_order_add(struct shm_order *order, struct shm_name *name)
{
    if (order->n_places == order->n_allocated &&
        shm_order_resize(order, order->n_allocated ? 2 * order->n_allocated : PLACES_MIN) < 0)
        return -ENOMEM;
    name->position = ++order->last_position;
    name->place = order->n_places;
    order->places[order->n_places++] = (struct shm_place){ name->position, name };
    order->n_names++;
    return 0;
}

/* Closes the gaps. */
static void close_up(struct shm_order *order)
{
    size_t n = 0;

    for (size_t i = 0; i < order->n_places; i++) {
        if (!order->places[i].name)
            continue;
        order->places[n] = order->places[i];
        order->places[n].name->place = n;
        n++;
    }
    order->n_places = n;
    /* Where it can't be made smaller it stays as large as it is. */
    if (n >= PLACES_MIN && n < order->n_allocated / 4)
        shm_order_resize(order, 2 * n);
}

void shm_order_remove(struct shm_order *order, struct shm_name *name)
{
    order->places[name->place].name = NULL;
    order->n_names--;
    if (order->n_places > PLACES_MIN && order->n_names < order->n_places / 2)
        close_up(order);
}

struct shm_name *shm_order_after(const struct shm_order *order, uint64_t position,
                                 size_t *ret_place)
{
    size_t low = 0;
    size_t high = order->n_places;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (order->places[middle].position <= position)
            low = middle + 1;
        else
            high = middle;
    }
    while (low < order->n_places && !order->places[low].name)
        low++;
    *ret_place = low;
    return low < order->n_places ? order->places[low].name : NULL;
}
