/* Every workload is one function u64 work(u8 *mem, u64 len) over MEMSZ bytes that returns a checksum. */
#ifndef WL_H
#define WL_H
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64;
typedef signed int s32; typedef signed long long s64;
#define MEMSZ 1024
#define NOINLINE __attribute__((noinline))
#define INLINE static inline __attribute__((always_inline))
#define NOUNROLL _Pragma("clang loop unroll(disable)")
#define UNROLL _Pragma("clang loop unroll(full)")
struct map_def { u32 type, key_size, value_size, max_entries; };
#define MAP(name, t, k, v, n) struct map_def name __attribute__((section("maps"), used)) = { t, k, v, n }
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *val, u64 flags) = (void *)2;
static long (*helper_nop)(void) = (void *)42; /* bpf_get_numa_node_id: next to nothing */
#define WORK u64 work
#define rol32(x,n) (((x) << (n)) | ((x) >> (32 - (n))))
#define ror32(x,n) (((x) >> (n)) | ((x) << (32 - (n))))
#define rol64(x,n) (((x) << (n)) | ((x) >> (64 - (n))))
#endif
