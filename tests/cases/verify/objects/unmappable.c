/* Maps of which the types say what no kernel takes: the programs are judged here alone. */
#include "kernel.h"
struct item { long key; struct bpf_list_node l; };
struct loc { int x; };
priv(A) struct bpf_spin_lock lock;
priv(A) struct bpf_list_head plain;
priv(A) struct bpf_list_head keys __contains(item, key);
priv(B) struct bpf_list_head alone __contains(item, l);
struct value { struct loc __kptr_un *l; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __uint(map_flags, BPF_F_WRONLY_PROG); __type(key, int); __type(value, struct value); } wr SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __uint(map_flags, BPF_F_RDONLY_PROG); __type(key, int); __type(value, struct value); } rd SEC(".maps");
#define T(n) SEC("tc") int n(struct __sk_buff *s)
#define N struct item *n = obj_new(struct item); if (!n) return 0;
#define L bpf_spin_lock(&lock);
#define U bpf_spin_unlock(&lock);
T(a1) { L struct bpf_list_node *l = bpf_list_pop_front(&plain); U return l != 0; }
T(a2) { N L push_front(&plain, &n->l); U return 0; }
T(a3) { N L push_front(&keys, (void *)n); U return 0; }
T(a4) { N L push_front(&keys, &n->l); U return 0; }
T(a5) { N push_front(&alone, &n->l); return 0; }
T(b1) { int k = 0; struct value *v = bpf_map_lookup_elem(&wr, &k); if (!v) return 0; return v->l != 0; }
T(b2) { int k = 0; struct value *v = bpf_map_lookup_elem(&rd, &k); if (!v) return 0; v->l = 0; return 0; }
