/* What ipcfs says on stderr: one line for one failure, with libfuse's reason in it.
 *
 * Context: the main thread, before the mount answers. */
#ifndef IPCFS_FS_SAY_H
#define IPCFS_FS_SAY_H

/* Prints "ipcfs: ", the text and a newline. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* From here on, what libfuse and its helpers say is kept for say_fuse(). */
void say_capture(void);

/* What they say from here on is printed. What was kept is lost. */
void say_release(void);

/* Prints "ipcfs: ", @what, and the last thing that was kept. */
void say_fuse(const char *what);

#endif
