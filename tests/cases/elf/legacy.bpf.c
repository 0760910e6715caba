/* Maps as structures of numbers, with fields that some loaders appended; no types at all. */
typedef unsigned int u32;
typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
struct plain { u32 type, key_size, value_size, max_entries; };
struct longer { u32 type, key_size, value_size, max_entries, map_flags, id, pinning; };
struct identified { u32 type, key_size, value_size, max_entries, map_flags, id, pinning, inner, index; };
struct longer SEC("maps") table = { 1, 4, 8, 100, 1, 7, 2 };
struct longer SEC("maps") zeros = { 2, 4, 8, 3 };
struct longer SEC("maps") numbered = { 12, 4, 0, 8, 0, 1 };
struct plain SEC("maps/other") other = { 2, 4, 16, 5 };
struct identified SEC("maps/tc") pattern = { 1, 4, 8, 2, 0, 9, 0, 0, 3 };
struct identified SEC("maps/tc") outer = { 13, 4, 4, 16, 0, 0, 2, 9, 0 };
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
/* Called by number from a program array; the other sections tell the type. */
SEC("2/7") int target(void *skb)
{
	u32 key = 3;
	void *inner = lookup(&outer, &key);
	u64 *value = inner ? lookup(inner, &key) : 0;
	return value ? *value : 0;
}
SEC("nothing_known") int unnamed(void *skb)
{
	return 2;
}
char _license[] SEC("license") = "GPL";
u32 _version SEC("version") = 0x60102;
