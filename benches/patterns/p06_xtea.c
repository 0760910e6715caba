#include "wl.h"
/* XTEA, 8 blocks */
WORK(u8 *mem, u64 len) {
	u32 *p = (u32 *)mem; u32 k[4] = { p[0], p[1], p[2], p[3] }; u32 acc = 0;
	NOUNROLL for (u32 b = 0; b < 8; b++) {
		u32 v0 = p[4 + 2 * b], v1 = p[5 + 2 * b], s = 0;
		NOUNROLL for (u32 i = 0; i < 32; i++) {
			v0 += (((v1 << 4) ^ (v1 >> 5)) + v1) ^ (s + k[s & 3]); s += 0x9E3779B9;
			v1 += (((v0 << 4) ^ (v0 >> 5)) + v0) ^ (s + k[(s >> 11) & 3]);
		}
		acc ^= v0 + v1;
	}
	return acc;
}
