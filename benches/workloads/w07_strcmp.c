#include "wl.h"
/* compare two NUL-free byte strings at 512 and 768; equal for 250 bytes */
WORK(u8 *mem, u64 len) {
	u32 i;
	NOUNROLL for (i = 0; i < 250; i++) {
		u8 a = mem[512 + i], b = mem[768 + i];
		if (a != b || !a) return ((u64)i << 8) | (u8)(a - b);
	}
	return i;
}
