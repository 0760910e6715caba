#include "wl.h"
static NOINLINE u64 step(u64 a, u64 b, u64 *mem) { if (a & 1) return (a ^ b) * 3 + mem[b & 63]; return (a >> 1) + b * mem[a & 63]; }
static NOINLINE u64 twice(u64 a, u64 b, u64 *mem) { u64 r = step(a, b, mem); return step(r, a ^ r, mem) + step(b, r, mem); }
WORK(u8 *mem, u64 len) {
	u64 acc = 1;
	NOUNROLL for (u32 i = 0; i < 64; i++) acc = twice(acc, i, (u64 *)mem);
	return acc;
}
