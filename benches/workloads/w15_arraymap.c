#include "wl.h"
MAP(arr, 2, 4, 8, 256);
/* 256 array-map lookups + read-modify-write of the value */
WORK(u8 *mem, u64 len) {
	u64 acc = 0;
	NOUNROLL for (u32 i = 0; i < 256; i++) {
		u32 key = mem[i];
		u64 *v = bpf_map_lookup_elem(&arr, &key);
		if (v) { acc += *v & 0; *v += 1; acc += key; }
	}
	return acc;
}
