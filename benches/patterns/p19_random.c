#include "wl.h"
static u32 (*bpf_get_prandom_u32)(void) = (void *)7;
WORK(u8 *mem, u64 len) {
	u64 acc = 0;
	NOUNROLL for (u32 i = 0; i < 64; i++) acc |= bpf_get_prandom_u32();
	return acc >> 63;
}
