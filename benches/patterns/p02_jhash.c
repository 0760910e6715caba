#include "wl.h"
#define mix(a,b,c) { a -= c; a ^= rol32(c, 4); c += b; b -= a; b ^= rol32(a, 6); a += c; c -= b; c ^= rol32(b, 8); b += a; \
	a -= c; a ^= rol32(c, 16); c += b; b -= a; b ^= rol32(a, 19); a += c; c -= b; c ^= rol32(b, 4); b += a; }
#define final(a,b,c) { c ^= b; c -= rol32(b, 14); a ^= c; a -= rol32(c, 11); b ^= a; b -= rol32(a, 25); c ^= b; c -= rol32(b, 16); \
	a ^= c; a -= rol32(c, 4); b ^= a; b -= rol32(a, 14); c ^= b; c -= rol32(b, 24); }
/* jhash of 32 flow keys */
WORK(u8 *mem, u64 len) {
	u32 acc = 0; u32 *p = (u32 *)mem;
	NOUNROLL for (u32 i = 0; i < 32; i++) {
		u32 a = 0xdeadbeef + 24, b = a, c = a;
		a += p[i * 8]; b += p[i * 8 + 1]; c += p[i * 8 + 2]; mix(a, b, c);
		a += p[i * 8 + 3]; b += p[i * 8 + 4]; c += p[i * 8 + 5]; final(a, b, c);
		acc ^= c;
	}
	return acc;
}
