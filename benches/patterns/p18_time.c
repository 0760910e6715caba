#include "wl.h"
static u64 (*bpf_ktime_get_ns)(void) = (void *)5;
WORK(u8 *mem, u64 len) {
	u64 last = 0, bad = 0;
	NOUNROLL for (u32 i = 0; i < 32; i++) { u64 now = bpf_ktime_get_ns(); bad += now < last; last = now; }
	return bad;
}
