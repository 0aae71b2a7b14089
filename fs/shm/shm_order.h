/* The names of one directory in the order in which they were made, each at a position that it keeps: so who
 * lists the directory piece by piece meets each name that stays exactly once, whatever comes and goes.
 *
 * Locks: the room's (shm_names.h).
 *
 * Context: under the room's lock. */
#ifndef IPCFS_FS_SHM_ORDER_H
#define IPCFS_FS_SHM_ORDER_H

#include <stddef.h>
#include <stdint.h>

struct shm_name;

struct shm_place {
    uint64_t position;
    struct shm_name *name; /* NULL: it is gone */
};

/* Zeroed: it is empty. */
struct shm_order {
    struct shm_place *places; /* by position */
    size_t n_places;
    size_t n_allocated;
    size_t n_names;
    uint64_t last_position;
};

void shm_order_deinit(struct shm_order *order);

/* Appends @name, and sets its position and place. Return: 0; -ENOMEM. */
int shm_order_add(struct shm_order *order, struct shm_name *name);

void shm_order_remove(struct shm_order *order, struct shm_name *name);

/* Return: the first name behind @position, with all that follow in @order->places from *ret_place on; NULL:
 * there is none. */
struct shm_name *shm_order_after(const struct shm_order *order, uint64_t position,
                                 size_t *ret_place);

#endif
