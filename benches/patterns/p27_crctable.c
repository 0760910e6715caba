#include "wl.h"
/* CRC-32 with a table of 16 on the stack, 256 bytes */
WORK(u8 *mem, u64 len) {
	u32 t[16];
	NOUNROLL for (u32 i = 0; i < 16; i++) { u32 c = i; NOUNROLL for (u32 k = 0; k < 4; k++) c = c & 1 ? c >> 1 ^ 0xedb88320 : c >> 1; t[i] = c; }
	u32 crc = ~0u;
	NOUNROLL for (u32 i = 0; i < 256; i++) { crc ^= mem[i]; crc = crc >> 4 ^ t[crc & 15]; crc = crc >> 4 ^ t[crc & 15]; }
	return ~crc;
}
