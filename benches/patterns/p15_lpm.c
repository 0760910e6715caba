#include "wl.h"
struct key { u32 bits; u32 addr; };
struct map_def5 { u32 type, key_size, value_size, max_entries, flags; };
struct map_def5 routes __attribute__((section("maps"), used)) = { 11, 8, 8, 256, 1 };
/* prefixes of four lengths, then lookups */
WORK(u8 *mem, u64 len) {
	u64 acc = 0; u32 *p = (u32 *)mem;
	NOUNROLL for (u32 i = 0; i < 16; i++) {
		struct key k = { 8 + (i & 3) * 5, p[i] }; u64 v = i;
		bpf_map_update_elem(&routes, &k, &v, 0);
	}
	NOUNROLL for (u32 i = 0; i < 128; i++) {
		struct key k = { 32, p[i & 31] ^ (i >> 5) };
		u64 *v = bpf_map_lookup_elem(&routes, &k);
		if (v) acc += *v;
	}
	return acc;
}
