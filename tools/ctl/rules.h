/* What each setting takes, in words: config answers a bad value with EINVAL and nothing more. */
#ifndef IPCFS_TOOLS_CTL_RULES_H
#define IPCFS_TOOLS_CTL_RULES_H

/* Return: what @key takes ("a power of two from 2 to 16777216"), where @value is not that;
 * NULL: it may be right, or nothing is known of @key. */
const char *rules_broken(const char *key, const char *value);

#endif
