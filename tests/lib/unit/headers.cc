// The public headers mean the same to C++, alone and in any order.
#include "core/lib/ipcring.h"
#include "core/lib/ring_abi.h"

static_assert(IPCRING_AT_SLOT_0 % 4096 == 0, "slots begin on a page");

int main()
{
    ipcring *ring = nullptr;
    uint64_t word = ipcring_word(1, IPCRING_FULL, 5);

    if (word != UINT64_C(0x0000000500000005) || ipcring_word_lap(word) != 1 ||
        ipcring_lap(UINT64_MAX, 1) != 0)
        return 1;
    ipcring_close(ring);
    return ipcring_open("/nonexistent", &ring) < 0 ? 0 : 1;
}
