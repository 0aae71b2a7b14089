/* SipHash-2-4: a hash that nobody can aim at who does not know its key.
 *
 * J.-P. Aumasson, D. J. Bernstein: SipHash: a fast short-input PRF, INDOCRYPT 2012.
 * Context: any thread. */
#ifndef IPCFS_CORE_SIPHASH_H
#define IPCFS_CORE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

#define SIPHASH_KEY_BYTES 16

/* Return: the hash of @size bytes at @data. */
uint64_t siphash(const unsigned char key[SIPHASH_KEY_BYTES], const void *data, size_t size);

#endif
