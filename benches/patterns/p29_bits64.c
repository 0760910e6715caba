#include "wl.h"
/* xorshift and multiply-with-carry */
WORK(u8 *mem, u64 len) {
	u64 s = *(u64 *)mem | 1, t = *(u64 *)(mem + 8), acc = 0;
	NOUNROLL for (u32 i = 0; i < 256; i++) { s ^= s << 13; s ^= s >> 7; s ^= s << 17; t = (t & 0xffffffff) * 4294957665ULL + (t >> 32); acc += s ^ t; }
	return acc;
}
