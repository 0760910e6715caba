#include "wl.h"
MAP(cnt, 2, 4, 16, 256);
/* packets and bytes by class in an array */
WORK(u8 *mem, u64 len) {
	NOUNROLL for (u32 i = 0; i < 128; i++) {
		u32 key = mem[i];
		u64 *v = bpf_map_lookup_elem(&cnt, &key);
		if (v) { v[0]++; v[1] += mem[i + 128]; }
	}
	return 0;
}
