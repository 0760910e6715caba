/* Maps as structures of numbers, with fields that some loaders appended; no types at all. */
typedef unsigned int u32;
typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
struct plain { u32 type, key_size, value_size, max_entries; };
struct longer { u32 type, key_size, value_size, max_entries, map_flags, id, pinning; };
struct longer SEC("maps") table = { 1, 4, 8, 100, 1, 7, 2 };
struct longer SEC("maps") zeros = { 2, 4, 8, 3 };
struct plain SEC("maps/other") other = { 2, 4, 16, 5 };
static void *(*lookup)(void *map, const void *key) = (void *)1;

static __attribute__((noinline)) u64 get(u32 key)
{
	u64 *value = lookup(&table, &key);
	return value ? *value : 0;
}
SEC("socket1") int filter(void *skb)
{
	u32 key = 3;
	u64 *value = lookup(&other, &key);
	return get(5) + (value ? *value : 1);
}
char _license[] SEC("license") = "GPL";
u32 _version SEC("version") = 0x60102;
