#include "wl.h"
/* header rewrite: TTL, addresses, incremental checksum of 8 packets */
INLINE u16 fold(u32 c) { c = (c & 0xffff) + (c >> 16); return (c & 0xffff) + (c >> 16); }
INLINE u16 swap(u16 v) { return v << 8 | v >> 8; }
WORK(u8 *mem, u64 len) {
	u32 acc = 0;
	NOUNROLL for (u32 i = 0; i < 8; i++) {
		u8 *ip = mem + i * 128 + 14;
		u32 old = *(u16 *)(ip + 8), sum = (u16)~*(u16 *)(ip + 10);
		ip[8]--;
		sum += (u16)~old + *(u16 *)(ip + 8);
		u32 dst = ip[16] << 24 | ip[17] << 16 | ip[18] << 8 | ip[19];
		u32 new = dst ^ 0x01020304;
		sum += (u16)~(dst >> 16) + (u16)~dst + (new >> 16) + (new & 0xffff);
		ip[16] = new >> 24; ip[17] = new >> 16; ip[18] = new >> 8; ip[19] = new;
		*(u16 *)(ip + 10) = ~fold(sum);
		u8 t[6];
		__builtin_memcpy(t, ip - 14, 6); __builtin_memcpy(ip - 14, ip - 8, 6); __builtin_memcpy(ip - 8, t, 6);
		acc += swap(*(u16 *)(ip + 10));
	}
	return acc;
}
