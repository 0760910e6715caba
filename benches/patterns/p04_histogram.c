#include "wl.h"
/* histogram on the stack, then prefix sums */
WORK(u8 *mem, u64 len) {
	u32 h[64];
	NOUNROLL for (u32 i = 0; i < 64; i++) h[i] = 0;
	NOUNROLL for (u32 i = 0; i < 512; i++) h[mem[i] & 63]++;
	u32 acc = 0, sum = 0;
	NOUNROLL for (u32 i = 0; i < 64; i++) { sum += h[i]; acc = acc * 31 + sum; }
	return acc;
}
