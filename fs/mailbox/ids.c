/* No name but the one that is written is taken, so that each message has one name. */
#include "ids.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/base/size.h"

void id_format(uint64_t id, char name[ID_DIGITS + 1])
{
    snprintf(name, ID_DIGITS + 1, "%0*" PRIu64, ID_DIGITS, id);
}

bool id_parse(const char *name, uint64_t *ret_id)
{
    return strlen(name) == ID_DIGITS && count_parse(name, ID_DIGITS, ret_id) == 0;
}

bool id_parse_short(const char *name, uint64_t *ret_id)
{
    size_t n = strlen(name);

    if (n == ID_DIGITS)
        return id_parse(name, ret_id);
    return n < ID_DIGITS && name[0] != '0' && count_parse(name, n, ret_id) == 0;
}
