#include "wl.h"
#define QR(a,b,c,d) a += b; d ^= a; d = rol32(d, 16); c += d; b ^= c; b = rol32(b, 12); a += b; d ^= a; d = rol32(d, 8); c += d; b ^= c; b = rol32(b, 7);
/* ChaCha, 20 rounds of one block in 16 variables */
WORK(u8 *mem, u64 len) {
	u32 *p = (u32 *)mem;
	u32 x0 = p[0], x1 = p[1], x2 = p[2], x3 = p[3], x4 = p[4], x5 = p[5], x6 = p[6], x7 = p[7], x8 = p[8], x9 = p[9], x10 = p[10], x11 = p[11], x12 = p[12], x13 = p[13], x14 = p[14], x15 = p[15];
	NOUNROLL for (u32 i = 0; i < 10; i++) {
		QR(x0, x4, x8, x12) QR(x1, x5, x9, x13) QR(x2, x6, x10, x14) QR(x3, x7, x11, x15)
		QR(x0, x5, x10, x15) QR(x1, x6, x11, x12) QR(x2, x7, x8, x13) QR(x3, x4, x9, x14)
	}
	return x0 ^ x1 ^ x2 ^ x3 ^ x4 ^ x5 ^ x6 ^ x7 ^ x8 ^ x9 ^ x10 ^ x11 ^ x12 ^ x13 ^ x14 ^ x15;
}
