/* core/lib/ring_os.c without what it asks /proc: who is alive is threads.c's to say. */
#define ipcring_os_pid_namespace map_pid_namespace
#define ipcring_os_own_id map_own_id
#define ipcring_os_claimer_is_dead map_claimer_is_dead
#include "core/lib/ring_os.c"
