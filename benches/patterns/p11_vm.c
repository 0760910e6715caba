#include "wl.h"
/* a small stack machine: 256 steps of 8 operations */
WORK(u8 *mem, u64 len) {
	u64 a = 1, b = 2, c = 3, d = 4;
	NOUNROLL for (u32 i = 0; i < 256; i++) {
		switch (mem[i] & 7) {
		case 0: a += b; break;
		case 1: b ^= c; break;
		case 2: c -= d; break;
		case 3: d = d << 3 | d >> 61; break;
		case 4: a = b * 5; break;
		case 5: b = a & 0xffff; break;
		case 6: c |= a >> 7; break;
		case 7: d += c ^ i; break;
		}
	}
	return a ^ b ^ c ^ d;
}
