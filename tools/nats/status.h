/* How the bridge is, for who asks: a region of the mount, shm/ipcfs-nats.PID, JSON, replaced as a whole. `ipcfs-nats --status MOUNT`
 * prints those of the mount.
 *
 * It is written at each change of state, and at most once a second while messages are only counted. All functions but
 * status_show are for the loop's thread. */
#ifndef IPCFS_TOOLS_NATS_STATUS_H
#define IPCFS_TOOLS_NATS_STATUS_H

struct json_object;

/* @describe makes the text's object, the caller's to put. A mount that can't have it (shm/ full) is told once. */
void status_open(const char *mount, struct json_object *(*describe)(void));
void status_close(void);

/* A state has changed. */
void status_changed(void);
/* Something was counted. */
void status_counted(void);

/* Prints what the running bridges of @mount say. Return: how many there are; negative: the mount can't be read. */
int status_show(const char *mount);

#endif
