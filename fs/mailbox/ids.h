/* Ids of messages as names of files: 20 digits, so that they sort as numbers do.
 *
 * Context: any thread. */
#ifndef IPCFS_FS_IDS_H
#define IPCFS_FS_IDS_H

#include <stdbool.h>
#include <stdint.h>

#define ID_DIGITS 20

void id_format(uint64_t id, char name[ID_DIGITS + 1]);

/* Return: whether @name is an id as id_format() writes it. */
bool id_parse(const char *name, uint64_t *ret_id);

/* Return: whether @name is an id so, or as an envelope has it, without zeros in front. */
bool id_parse_short(const char *name, uint64_t *ret_id);

#endif
