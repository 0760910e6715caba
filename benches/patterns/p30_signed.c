#include "wl.h"
/* signed arithmetic: fixed-point filter with saturation */
WORK(u8 *mem, u64 len) {
	s32 y = 0, acc = 0; 
	NOUNROLL for (u32 i = 0; i < 256; i++) {
		s32 x = (signed char)mem[i];
		y += ((x << 8) - y) >> 3;
		s32 v = y >> 2;
		if (v > 4095) v = 4095;
		if (v < -4096) v = -4096;
		acc += v * (s32)(i & 7);
	}
	return (u32)acc;
}
