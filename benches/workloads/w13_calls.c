#include "wl.h"
/* bpf-to-bpf call heavy: 128 x chain of 4 noinline calls (recursion is not legal in BPF) */
NOINLINE u64 F1(u64 a, u64 b); NOINLINE u64 F2(u64 a, u64 b); NOINLINE u64 F3(u64 a);
WORK(u8 *mem, u64 len) {
	u64 acc = 0; u64 *p = (u64 *)mem;
	NOUNROLL for (u32 i = 0; i < 128; i++) acc += F1(p[i], acc);
	return acc;
}
NOINLINE u64 F1(u64 a, u64 b) { return F2(a ^ b, b) + F3(a); }
NOINLINE u64 F2(u64 a, u64 b) { return F3(a + 7) ^ (b >> 3); }
NOINLINE u64 F3(u64 a) { return a * 0x9e3779b97f4a7c15ull + (a >> 7); }
