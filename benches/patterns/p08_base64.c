#include "wl.h"
/* base64 of 192 bytes by comparisons */
INLINE u32 letter(u32 v) { v &= 63; if (v < 26) return 'A' + v; if (v < 52) return 'a' + v - 26; if (v < 62) return '0' + v - 52; return v == 62 ? '+' : '/'; }
WORK(u8 *mem, u64 len) {
	u32 acc = 0;
	NOUNROLL for (u32 i = 0; i < 64; i++) {
		u32 v = mem[3 * i] << 16 | mem[3 * i + 1] << 8 | mem[3 * i + 2];
		mem[512 + 4 * i] = letter(v >> 18); mem[513 + 4 * i] = letter(v >> 12); mem[514 + 4 * i] = letter(v >> 6); mem[515 + 4 * i] = letter(v);
		acc = acc * 31 + mem[512 + 4 * i];
	}
	return acc;
}
