/* Faults on purpose: the nth call that could fail for want of memory, a descriptor or a thread fails.
 *
 * A program that links fault.c has these calls wrapped by its linker (meson.build): what libc does inside them is
 * not counted, and a sanitizer's allocator stays where it is.
 *
 * Context: any thread. */
#ifndef IPCFS_TESTS_FAULT_H
#define IPCFS_TESTS_FAULT_H

#include <stdbool.h>

/* From now on calls count; the @nth fails, once. */
void fault_arm(unsigned int nth);

/* No more faults. Return: whether it came to the fault. */
bool fault_disarm(void);

/* Return: how many pieces of memory are held that were taken through wrapped calls. */
unsigned int fault_n_live(void);

/* Return: how many descriptors this process has open. */
unsigned int fault_n_descriptors(void);

/* Return: how many threads this process has. */
unsigned int fault_n_threads(void);

#endif
