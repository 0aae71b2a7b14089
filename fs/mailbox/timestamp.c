/* The text has one form only, so that texts sort as times do. */
#include "timestamp.h"

#include <stdio.h>

void timestamp_format(const struct timespec *ts, char text[TIMESTAMP_MAX])
{
    struct tm tm;
    size_t n;

    text[0] = '\0';
    if (ts->tv_sec == 0 || !gmtime_r(&ts->tv_sec, &tm))
        return;
    n = strftime(text, TIMESTAMP_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, TIMESTAMP_MAX - n, ".%09ldZ", ts->tv_nsec);
}
