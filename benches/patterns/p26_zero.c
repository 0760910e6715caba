#include "wl.h"
struct ev { u64 a, b; u32 c, d; u8 name[32]; u16 e, f; u32 g; };
/* clears and fills a structure, then sums it */
WORK(u8 *mem, u64 len) {
	u64 acc = 0;
	NOUNROLL for (u32 i = 0; i < 32; i++) {
		struct ev e = {};
		e.a = i; e.c = mem[i]; e.name[mem[i] & 31] = 7; e.e = i; e.g = mem[i + 1];
		u64 *p = (u64 *)&e;
		NOUNROLL for (u32 k = 0; k < 8; k++) acc += p[k] * (k + 1);
	}
	return acc;
}
