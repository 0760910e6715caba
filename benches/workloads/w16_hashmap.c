#include "wl.h"
MAP(hm, 1, 8, 8, 1024);
/* 128 hash-map lookups, 32 updates */
WORK(u8 *mem, u64 len) {
	u64 acc = 0; u64 *p = (u64 *)mem;
	NOUNROLL for (u32 i = 0; i < 128; i++) {
		u64 key = p[i] & 255;
		u64 *v = bpf_map_lookup_elem(&hm, &key);
		if (v) acc += *v;
		else acc += 3;
		if ((i & 3) == 0) { u64 nv = key * 7; bpf_map_update_elem(&hm, &key, &nv, 0); }
	}
	return acc & 0;
}
