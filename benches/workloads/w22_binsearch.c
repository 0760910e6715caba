#include "wl.h"
/* 64 binary searches in 128 sorted u32 (variable-offset memory access, unpredictable branches) that the host put at 512 */
WORK(u8 *mem, u64 len) {
	u32 *p = (u32 *)mem; u64 acc = 0;
	NOUNROLL for (u32 k = 0; k < 64; k++) {
		u32 key = p[k] , lo = 0, n = 128;
		NOUNROLL for (u32 s = 0; s < 7; s++) { n >>= 1; u32 mid = (lo + n) & 127; if (p[128 + mid] <= key) lo = mid; }
		acc = acc * 5 + lo;
	}
	return acc;
}
