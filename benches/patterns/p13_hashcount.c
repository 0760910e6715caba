#include "wl.h"
MAP(hm, 1, 4, 8, 512);
/* counters by a 4-byte key */
WORK(u8 *mem, u64 len) {
	NOUNROLL for (u32 i = 0; i < 128; i++) {
		u32 key = mem[i]; u64 one = 1;
		u64 *v = bpf_map_lookup_elem(&hm, &key);
		if (v) __sync_fetch_and_add(v, 1);
		else bpf_map_update_elem(&hm, &key, &one, 1);
	}
	return 0;
}
