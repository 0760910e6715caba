#include "wl.h"
MAP(am, 2, 4, 64, 4);
WORK(u8 *mem, u64 len) {
	u32 key = 1; u64 *v = bpf_map_lookup_elem(&am, &key); u64 acc = 0;
	if (!v) return 1;
	NOUNROLL for (u32 i = 0; i < 64; i++) {
		__sync_fetch_and_add(&v[0], mem[i]);
		acc += __sync_fetch_and_or((u32 *)&v[1], 1u << (i & 31));
		__sync_fetch_and_xor(&v[2], i);
	}
	return acc & 0;
}
