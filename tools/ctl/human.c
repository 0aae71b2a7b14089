#include "human.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "util.h"

void human_number(double n, unsigned int base, char text[HUMAN_MAX])
{
    static const char letters[] = " KMGTPE";
    unsigned int power = 0;

    /* Four digits are as short as "1.0K", and say more. What would be shown as 1000 or 1024 of one unit is
     * 1.0 of the next. */
    while (n >= (power == 0 && base == 1000 ? 9999.5 : base - 0.5) && letters[power + 1]) {
        n /= base;
        power++;
    }
    if (power == 0)
        snprintf(text, HUMAN_MAX, "%.0f", n);
    else
        snprintf(text, HUMAN_MAX, n < 9.95 ? "%.1f%c" : "%.0f%c", n, letters[power]);
}

char *human_age(const char *text)
{
    static const struct {
        int64_t seconds;
        const char *name;
    } units[] = { { 86400, "d" }, { 3600, "h" }, { 60, "m" }, { 1, "s" } };
    struct tm tm = { 0 };
    int64_t age;

    if (!strptime(text, "%Y-%m-%dT%H:%M:%S", &tm))
        return xstrdup(text);
    age = (int64_t)time(NULL) - (int64_t)timegm(&tm);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (age >= units[i].seconds)
            return xasprintf("%" PRId64 "%s ago", age / units[i].seconds, units[i].name);
    }
    return xstrdup("now");
}

void human_mode(mode_t mode, char text[HUMAN_MODE_MAX])
{
    snprintf(text, HUMAN_MODE_MAX, "%crwxrwxrwx", S_ISDIR(mode) ? 'd' : '-');
    for (unsigned int i = 0; i < 9; i++) {
        if (!(mode & (0400U >> i)))
            text[1 + i] = '-';
    }
}
