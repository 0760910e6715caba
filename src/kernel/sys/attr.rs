//! Layouts of `union bpf_attr`: one structure a command, and the information structures the kernel fills.
//!
//! Offsets are UAPI. Every structure spells its padding out, because the kernel refuses attributes whose
//! unknown bytes are not zero. A kernel that knows less than we send accepts zeros; one that knows more
//! fills in zeros for what we leave out. Not here: the system call itself (`sys`).
#![forbid(unsafe_code)]

/// A structure that the kernel reads and writes as `bpf_attr` or as information: plain integers, no hidden
/// padding.
pub(crate) trait Plain: Default {}

macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident($size:literal) { $($field:ident: $type:ty),* $(,)? })*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        #[repr(C)]
        pub(crate) struct $name { $(pub(crate) $field: $type),* }
        impl Plain for $name {}
        // The sum of the fields equals the size: no byte of padding is left uninitialised.
        const _: () = assert!(0 $(+ size_of::<$type>())* == $size && size_of::<$name>() == $size);
    )* };
}

plain! {
    /// `BPF_MAP_CREATE`
    MapCreate(80) {
        map_type: u32, key_size: u32, value_size: u32, max_entries: u32, map_flags: u32, inner_map_fd: u32,
        numa_node: u32, map_name: [u8; 16], map_ifindex: u32, btf_fd: u32, btf_key_type_id: u32,
        btf_value_type_id: u32, btf_vmlinux_value_type_id: u32, map_extra: u64, value_type_btf_obj_fd: u32,
        map_token_fd: u32,
    }
    /// `BPF_MAP_*_ELEM`, `BPF_MAP_GET_NEXT_KEY`, `BPF_MAP_FREEZE`
    MapElem(32) { map_fd: u32, pad: u32, key: u64, value: u64, flags: u64 }
    /// `BPF_MAP_*_BATCH`
    MapBatch(56) {
        in_batch: u64, out_batch: u64, keys: u64, values: u64, count: u32, map_fd: u32, elem_flags: u64,
        flags: u64,
    }
    /// `BPF_PROG_LOAD`
    ProgLoad(144) {
        prog_type: u32, insn_cnt: u32, insns: u64, license: u64, log_level: u32, log_size: u32, log_buf: u64,
        kern_version: u32, prog_flags: u32, prog_name: [u8; 16], prog_ifindex: u32, expected_attach_type: u32,
        prog_btf_fd: u32, func_info_rec_size: u32, func_info: u64, func_info_cnt: u32,
        line_info_rec_size: u32, line_info: u64, line_info_cnt: u32, attach_btf_id: u32, attach_fd: u32,
        core_relo_cnt: u32, fd_array: u64, core_relos: u64, core_relo_rec_size: u32, log_true_size: u32,
    }
    /// `BPF_OBJ_PIN`, `BPF_OBJ_GET`
    Obj(16) { pathname: u64, bpf_fd: u32, file_flags: u32 }
    /// `BPF_PROG_TEST_RUN`
    TestRun(80) {
        prog_fd: u32, retval: u32, data_size_in: u32, data_size_out: u32, data_in: u64, data_out: u64,
        repeat: u32, duration: u32, ctx_size_in: u32, ctx_size_out: u32, ctx_in: u64, ctx_out: u64, flags: u32,
        cpu: u32, batch_size: u32, pad: u32,
    }
    /// `BPF_*_GET_NEXT_ID`, `BPF_*_GET_FD_BY_ID`
    GetId(12) { id: u32, next_id: u32, open_flags: u32 }
    /// `BPF_OBJ_GET_INFO_BY_FD`
    Info(16) { bpf_fd: u32, info_len: u32, info: u64 }
    /// `BPF_BTF_LOAD`
    BtfLoad(32) {
        btf: u64, btf_log_buf: u64, btf_size: u32, btf_log_size: u32, btf_log_level: u32, btf_log_true_size: u32,
    }
    /// `BPF_LINK_CREATE`, with the largest of its per-type unions as plain words
    LinkCreate(48) {
        prog_fd: u32, target: u32, attach_type: u32, flags: u32, extra: [u64; 4],
    }
    /// `BPF_LINK_DETACH`
    LinkDetach(4) { link_fd: u32 }
    /// `BPF_RAW_TRACEPOINT_OPEN`
    RawTracepointOpen(24) { name: u64, prog_fd: u32, pad: u32, cookie: u64 }

    /// `struct bpf_func_info`
    FuncInfo(8) { insn_off: u32, type_id: u32 }
    /// `struct bpf_line_info`
    LineInfo(16) { insn_off: u32, file_name_off: u32, line_off: u32, line_col: u32 }

    /// `struct bpf_map_info`
    MapInfo(88) {
        map_type: u32, id: u32, key_size: u32, value_size: u32, max_entries: u32, map_flags: u32,
        name: [u8; 16], ifindex: u32, btf_vmlinux_value_type_id: u32, netns_dev: u64, netns_ino: u64,
        btf_id: u32, btf_key_type_id: u32, btf_value_type_id: u32, btf_vmlinux_id: u32, map_extra: u64,
    }
    /// `struct bpf_prog_info`
    ProgInfo(232) {
        prog_type: u32, id: u32, tag: [u8; 8], jited_prog_len: u32, xlated_prog_len: u32,
        jited_prog_insns: u64, xlated_prog_insns: u64, load_time: u64, created_by_uid: u32, nr_map_ids: u32,
        map_ids: u64, name: [u8; 16], ifindex: u32, gpl_compatible: u32, netns_dev: u64, netns_ino: u64,
        nr_jited_ksyms: u32, nr_jited_func_lens: u32, jited_ksyms: u64, jited_func_lens: u64, btf_id: u32,
        func_info_rec_size: u32, func_info: u64, nr_func_info: u32, nr_line_info: u32, line_info: u64,
        jited_line_info: u64, nr_jited_line_info: u32, line_info_rec_size: u32, jited_line_info_rec_size: u32,
        nr_prog_tags: u32, prog_tags: u64, run_time_ns: u64, run_cnt: u64, recursion_misses: u64,
        verified_insns: u32, attach_btf_obj_id: u32, attach_btf_id: u32, pad: u32,
    }
    /// `struct bpf_btf_info`
    BtfInfo(32) { btf: u64, btf_size: u32, id: u32, name: u64, name_len: u32, kernel_btf: u32 }
    /// `struct bpf_link_info`: the common head, then the union as plain words
    LinkInfo(80) { link_type: u32, id: u32, prog_id: u32, pad: u32, extra: [u64; 8] }
}
