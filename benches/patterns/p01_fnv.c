#include "wl.h"
/* FNV-1a of 16 pieces of 64 bytes */
WORK(u8 *mem, u64 len) {
	u64 acc = 0;
	NOUNROLL for (u32 i = 0; i < 16; i++) {
		u64 h = 0xcbf29ce484222325ULL;
		NOUNROLL for (u32 j = 0; j < 64; j++) { h ^= mem[i * 64 + j]; h *= 0x100000001b3ULL; }
		acc ^= h;
	}
	return acc;
}
