/* All kinds of CO-RE relocations. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define core __attribute__((preserve_access_index))

/* The context as an older or newer header might declare it: order and size differ. */
struct xdp_md___old {
	__u32 data_end;
	__u32 rx_queue_index;
	__u32 data;
	__u32 nowhere;
} core;

struct shape {
	__u32 kind;
	__u32 low : 3, middle : 11;
	int negative : 5;
	__u64 plain;
	__u64 wide : 40;
	struct { __u16 x; __u16 y; } corner[4];
	union { __u32 as_number; __u8 as_bytes[4]; };
} core;
enum colour { RED = 3, GREEN = -4 };
enum large { LARGE = 0x123456789abcULL };
enum colour___gone { BLUE___gone = 1 };
struct absent___x { int a; } core;
typedef struct { int a, b; } pair_t;

__u64 out[40];
struct shape shape;

SEC("xdp") int context(struct xdp_md *ctx)
{
	struct xdp_md___old *old = (void *)ctx;
	int r = 0;
	if (bpf_core_field_exists(old->nowhere)) r += old->nowhere;
	if (bpf_core_field_exists(old->rx_queue_index)) r += old->rx_queue_index;
	out[0] = bpf_core_field_offset(old->data);
	out[1] = bpf_core_type_size(struct xdp_md);
	return r + old->data_end - old->data;
}

SEC("xdp") int kinds(struct xdp_md *ctx)
{
	struct shape *s = &shape;
	out[0] = bpf_core_field_offset(s->middle);
	out[1] = bpf_core_field_size(s->middle);
	out[2] = bpf_core_field_exists(s->kind);
	out[3] = __builtin_preserve_field_info(s->negative, BPF_FIELD_SIGNED);
	out[4] = BPF_CORE_READ_BITFIELD(s, middle);
	out[5] = BPF_CORE_READ_BITFIELD(s, negative);
	out[6] = bpf_core_type_id_local(struct shape);
	out[7] = bpf_core_type_id_kernel(struct shape);
	out[8] = bpf_core_type_exists(struct shape);
	out[9] = bpf_core_type_exists(struct absent___x);
	out[10] = bpf_core_type_size(struct shape);
	out[11] = bpf_core_enum_value_exists(enum colour, RED);
	out[12] = bpf_core_enum_value(enum colour, GREEN);
	out[13] = bpf_core_enum_value(enum large, LARGE);
	out[14] = bpf_core_type_matches(struct shape);
	out[15] = bpf_core_field_offset(s->corner[2].y);
	out[16] = bpf_core_field_offset(s->as_bytes[1]);
	out[17] = bpf_core_enum_value_exists(enum colour___gone, BLUE___gone);
	out[18] = bpf_core_type_exists(pair_t);
	out[19] = bpf_core_type_size(struct absent___x);
	out[20] = BPF_CORE_READ_BITFIELD(s, wide);
	if (bpf_core_type_exists(struct absent___x)) {
		struct absent___x *a = (void *)&shape;
		out[21] = a->a;
	}
	return XDP_PASS;
}

/* An array without an end, and the built-in one that it is relocated to. */
struct bpf_raw_tracepoint_args___open { __u64 args[0]; } core;

SEC("raw_tp") int open_array(struct bpf_raw_tracepoint_args___open *ctx)
{
	return ctx->args[1];
}
char _license[] SEC("license") = "GPL";
