#include "wl.h"
/* 8 by 8 matrices */
WORK(u8 *mem, u64 len) {
	u32 *a = (u32 *)mem, *b = (u32 *)(mem + 256), *c = (u32 *)(mem + 512);
	NOUNROLL for (u32 i = 0; i < 8; i++) NOUNROLL for (u32 j = 0; j < 8; j++) {
		u32 s = 0;
		NOUNROLL for (u32 k = 0; k < 8; k++) s += a[i * 8 + k] * b[k * 8 + j];
		c[i * 8 + j] = s;
	}
	return c[9];
}
