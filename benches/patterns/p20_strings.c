#include "wl.h"
/* splits lines into words, lower case, hashes each */
WORK(u8 *mem, u64 len) {
	u32 acc = 0, h = 5381, words = 0, in = 0;
	NOUNROLL for (u32 i = 0; i < 512; i++) {
		u8 c = mem[i];
		if (c >= 'A' && c <= 'Z') c += 32;
		if ((c >= 'a' && c <= 'z') || (c >= 0x80)) { h = h * 33 ^ c; in = 1; }
		else if (in) { acc ^= h; h = 5381; words++; in = 0; }
	}
	return acc + words;
}
