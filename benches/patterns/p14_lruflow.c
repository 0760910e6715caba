#include "wl.h"
struct flow { u32 src, dst; u16 sport, dport; u8 proto, pad[3]; };
struct stat { u64 packets, bytes; };
MAP(flows, 9, sizeof(struct flow), sizeof(struct stat), 1024);
/* a flow table of 16-byte keys */
WORK(u8 *mem, u64 len) {
	u32 hits = 0;
	NOUNROLL for (u32 i = 0; i < 64; i++) {
		struct flow f = { mem[i], 7, mem[i] * 3, 80, 6, {0,0,0} };
		struct stat *s = bpf_map_lookup_elem(&flows, &f);
		if (s) { s->packets++; s->bytes += i; hits++; }
		else { struct stat n = { 1, i }; bpf_map_update_elem(&flows, &f, &n, 0); }
	}
	return hits & 0;
}
