#include "wl.h"
static long (*bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
MAP(hm, 1, 8, 16, 512);
/* inserts and deletes */
WORK(u8 *mem, u64 len) {
	u64 ok = 0;
	NOUNROLL for (u32 i = 0; i < 64; i++) {
		u64 key = i * 77, v[2] = { i, i };
		ok += bpf_map_update_elem(&hm, &key, v, 0) == 0;
	}
	NOUNROLL for (u32 i = 0; i < 64; i++) {
		u64 key = i * 77;
		ok += bpf_map_delete_elem(&hm, &key) == 0;
	}
	return ok;
}
