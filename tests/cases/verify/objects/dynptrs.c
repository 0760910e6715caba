#include "kernel.h"
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } rb SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_USER_RINGBUF); __uint(max_entries, 4096); } ur SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, int); __type(value, long[8]); } m SEC(".maps");
#define T(n) SEC("tc") int n(struct __sk_buff *s)
#define LK int k = 0; long *v = bpf_map_lookup_elem(&m, &k); if (!v) return 0;
#define R struct bpf_dynptr d; bpf_ringbuf_reserve_dynptr(&rb, 64, 0, &d);
#define M LK struct bpf_dynptr d; bpf_dynptr_from_mem(v, 64, 0, &d);
#define K struct bpf_dynptr d; bpf_dynptr_from_skb(s, 0, &d);
#define E bpf_ringbuf_discard_dynptr(&d, 0);
T(a1) { K struct bpf_dynptr c; bpf_dynptr_clone(&d, &c); char b[8]; char *p = bpf_dynptr_slice(&c, 0, b, 8); return p ? p[0] : 0; }
T(a2) { R struct bpf_dynptr c; bpf_dynptr_clone(&d, &c); E return 0; }
T(a3) { R struct bpf_dynptr c; bpf_dynptr_clone(&d, &c); bpf_ringbuf_submit_dynptr(&c, 0); return 0; }
T(a4) { R struct bpf_dynptr c; bpf_dynptr_clone(&d, &c); E char b[4]; bpf_dynptr_read(b, 4, &c, 0, 0); return 0; }
T(a5) { R struct bpf_dynptr c; bpf_dynptr_clone(&d, &c); E bpf_ringbuf_discard_dynptr(&c, 0); return 0; }
T(a6) { R struct bpf_dynptr c; bpf_dynptr_clone(&d, &c); return 0; }
T(a7) { struct bpf_dynptr c, d; bpf_dynptr_clone(&d, &c); return 0; }
T(a8) { K bpf_dynptr_clone(&d, &d); return 0; }
T(a9) { R bpf_dynptr_clone(&d, &d); E return 0; }
T(a10) { M struct bpf_dynptr c; bpf_dynptr_clone(&d, &c); long *p = bpf_dynptr_data(&c, 0, 8); if (p) *p = 1; return 0; }
T(a11) { R struct bpf_dynptr c; bpf_dynptr_clone(&d, &c); long *p = bpf_dynptr_data(&c, 0, 8); E if (p) *p = 1; return 0; }
T(a12) { R struct bpf_dynptr c; bpf_dynptr_clone(&d, &c); long *p = bpf_dynptr_data(&d, 0, 8); if (p) *p = 1; bpf_ringbuf_submit_dynptr(&c, 0); return 0; }
T(a13) { R struct bpf_dynptr c; bpf_dynptr_clone(&d, &c); __builtin_memset(&c, 0, 16); E return 0; }
T(a14) { R struct bpf_dynptr c; bpf_dynptr_clone(&d, &c); __builtin_memset(&c, 0, 16); E return ((int *)&c)[0]; }
T(a15) { M struct bpf_dynptr c; bpf_dynptr_clone(&d, &c); bpf_dynptr_from_mem(v, 32, 0, &d); char b[4]; return bpf_dynptr_read(b, 4, &c, 0, 0); }
T(a16) { M long *p = bpf_dynptr_data(&d, 0, 8); bpf_dynptr_from_mem(v, 32, 0, &d); if (p) *p = 1; return 0; }
T(b1) { M bpf_dynptr_adjust(&d, 1, 2); return bpf_dynptr_size(&d) + bpf_dynptr_is_null(&d) + bpf_dynptr_is_rdonly(&d); }
T(b2) { struct bpf_dynptr d; bpf_dynptr_adjust(&d, 1, 2); return 0; }
T(b3) { K bpf_dynptr_adjust(&d, s->len, s->mark); return 0; }
T(b4) { M bpf_dynptr_adjust(&d, (long)s, 2); return 0; }
T(b5) { M return bpf_dynptr_copy(&d, 0, &d, 8, 8); }
T(b6) { M return bpf_dynptr_memset(&d, 0, 8, 5); }
T(b7) { struct bpf_dynptr d; return bpf_dynptr_memset(&d, 0, 8, 5); }
T(b8) { M return bpf_probe_read_user_dynptr(&d, 0, 8, 0); }
T(b9) { M return bpf_copy_from_user_dynptr(&d, 0, 8, 0); }
SEC("syscall") int b10(void *s) { M return bpf_copy_from_user_dynptr(&d, 0, 8, 0); }
T(b11) { K char b[8]; char *p = bpf_dynptr_slice_rdwr(&d, 0, b, 8); if (p) p[1] = 1; return 0; }
T(b12) { K char b[8]; char *p = bpf_dynptr_slice(&d, 0, b, 8); if (p) p[1] = 1; return 0; }
T(b13) { K char b[8]; char *p = bpf_dynptr_slice(&d, 0, b, 16); return p ? p[0] : 0; }
T(b14) { K char *p = bpf_dynptr_slice(&d, 0, 0, 16); return p ? p[15] : 0; }
T(b15) { K char *p = bpf_dynptr_slice(&d, 0, 0, 16); return p ? p[16] : 0; }
T(b16) { K char b[8]; char *p = bpf_dynptr_slice(&d, 0, b, 8); bpf_skb_pull_data(s, 10); return p ? p[0] : 0; }
T(b17) { K char b[8]; char *p = bpf_dynptr_slice(&d, 0, b, 8); bpf_dynptr_write(&d, 0, "abcd", 4, 0); return p ? p[0] : 0; }
T(b18) { K char b[8]; char *p = bpf_dynptr_slice(&d, 0, b, s->len & 7); return p ? 1 : 0; }
T(b19) { struct bpf_dynptr d; bpf_dynptr_from_skb_meta(s, 0, &d); char b[8]; char *p = bpf_dynptr_slice(&d, 0, b, 8); return p ? p[0] : 0; }
SEC("xdp") int b20(struct xdp_md *s) { struct bpf_dynptr d; bpf_dynptr_from_xdp(s, 0, &d); char b[8]; char *p = bpf_dynptr_slice_rdwr(&d, 0, b, 8); if (p) p[0] = 1; return 2; }
SEC("xdp") int b21(struct xdp_md *s) { struct bpf_dynptr d; bpf_dynptr_from_skb((void *)s, 0, &d); return 2; }
SEC("socket") int b22(struct __sk_buff *s) { K char b[8]; char *p = bpf_dynptr_slice_rdwr(&d, 0, b, 8); if (p) p[0] = 1; return 2; }
SEC("cgroup_skb/ingress") int b23(struct __sk_buff *s) { K char b[8]; char *p = bpf_dynptr_slice(&d, 0, b, 8); return p ? 1 : 0; }
T(b24) { R __builtin_memset(&d, 0, 16); E return 0; }
T(b25) { M __builtin_memset(&d, 0, 16); return 0; }
T(b26) { K bpf_dynptr_data(&d, 0, 8); return 0; }
T(b27) { struct bpf_dynptr d; bpf_dynptr_from_mem(s, 8, 0, &d); return 0; }
T(b28) { char b[8]; struct bpf_dynptr d; bpf_dynptr_from_mem(b, 8, 0, &d); return 0; }
static long cb_ok(struct bpf_dynptr *d, void *c) { char b[4]; bpf_dynptr_read(b, 4, d, 0, 0); return 0; }
static long cb_bad(struct bpf_dynptr *d, void *c) { return 2; }
static long cb_neg(struct bpf_dynptr *d, void *c) { return *((char *)d - 1); }
static long cb_wr(struct bpf_dynptr *d, void *c) { *(long *)d = 0; return 0; }
static long cb_mk(struct bpf_dynptr *d, void *c) { bpf_ringbuf_reserve_dynptr(&rb, 8, 0, d); return 0; }
static long cb_rel(struct bpf_dynptr *d, void *c) { bpf_ringbuf_submit_dynptr(d, 0); return 0; }
static long cb_ctx(struct bpf_dynptr *d, void *c) { *(int *)c += 1; return 0; }
static long cb_data(struct bpf_dynptr *d, void *c) { long *p = bpf_dynptr_data(d, 0, 8); if (p) *p = 1; return 0; }
static long cb_dw(struct bpf_dynptr *d, void *c) { bpf_dynptr_write(d, 0, "abcd", 4, 0); return 0; }
static long cb_clone(struct bpf_dynptr *d, void *c) { struct bpf_dynptr e; bpf_dynptr_clone(d, &e); return 0; }
static long cb_size(struct bpf_dynptr *d, void *c) { bpf_dynptr_adjust(d, 0, 1); return bpf_dynptr_size(d) & 1; }
static long cb_off(struct bpf_dynptr *d, void *c) { return bpf_dynptr_size((void *)d + 8) & 1; }
static long cb_long(struct bpf_dynptr *d, void *c) { return 4; }
#define D(n, f, c) T(n) { int x = 0; bpf_user_ringbuf_drain(&ur, f, c, 0); return x; }
D(c1, cb_ok, 0) D(c2, cb_bad, 0) D(c3, cb_neg, 0) D(c4, cb_wr, 0) D(c5, cb_mk, 0) D(c6, cb_rel, 0) D(c7, cb_ctx, &x) D(c8, cb_ctx, 0) D(c9, cb_data, 0) D(c10, cb_dw, 0) D(c11, cb_clone, 0) D(c12, cb_size, 0) D(c13, cb_off, 0)
T(c14) { bpf_user_ringbuf_drain((void *)&rb, cb_ok, 0, 0); return 0; }
T(c15) { bpf_user_ringbuf_drain(&ur, (void *)5, 0, 0); return 0; }
SEC("kprobe/x") int c16(void *s) { bpf_user_ringbuf_drain(&ur, cb_ok, 0, 0); return 0; }
T(c17) { bpf_ringbuf_reserve(&ur, 8, 0); return 0; }
