//! The `bpf(2)` system call behind safe functions: the only place of the crate that calls libc.
//!
//! In: slices and file descriptors. Out: owned descriptors, bytes, or the [`Errno`]. A function here is sound
//! for every argument: buffers that the kernel writes are sized from what the kernel itself says about the
//! object ([`map::MapFd`]). Not here: policy, hints, logs (`error`, `prog`), attribute layouts ([`attr`]), mapped
//! rings ([`ring`]).
//!
//! INV-5: every pointer in an attribute lives across the call, and its length is what the attribute says.
//! INV-12: a descriptor that a command returns belongs to its caller and to nobody else.

pub(crate) mod arena;
pub(crate) mod attr;
pub(crate) mod map;
pub(crate) mod ring;

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::Errno;
use crate::isa::Slot;
use attr::Plain;

/// Commands of `bpf(2)` (`enum bpf_cmd`).
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapNextKey = 4,
    ProgLoad = 5,
    ObjPin = 6,
    ObjGet = 7,
    TestRun = 10,
    InfoByFd = 15,
    RawTracepointOpen = 17,
    BtfLoad = 18,
    MapLookupAndDelete = 21,
    MapFreeze = 22,
    MapLookupBatch = 24,
    MapUpdateBatch = 26,
    MapDeleteBatch = 27,
    LinkCreate = 28,
    LinkDetach = 34,
}

/// The system call.
///
/// # Safety
/// INV-5 holds for every pointer in `attr`.
unsafe fn bpf<T: Plain>(command: Command, attr: &mut T) -> Result<i32, Errno> {
    let attr: *mut T = attr;
    // SAFETY: INV-5: `attr` is a live structure of exactly that size; the pointers in it by contract.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_long, attr, size_of::<T>()) };
    // Results are descriptors or zero: they fit.
    if result < 0 { Err(last_errno()) } else { Ok(result as i32) }
}

/// Like [`bpf`], for commands that return a new descriptor.
///
/// # Safety
/// As for [`bpf`]; and the command returns a descriptor that nobody owns yet.
unsafe fn bpf_fd<T: Plain>(command: Command, attr: &mut T) -> Result<OwnedFd, Errno> {
    // SAFETY: INV-5 by contract.
    let fd = unsafe { bpf(command, attr) }?;
    // SAFETY: INV-12: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn last_errno() -> Errno {
    Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn address<T>(items: &[T]) -> u64 {
    if items.is_empty() { 0 } else { items.as_ptr().addr() as u64 }
}

fn address_mut(bytes: &mut [u8]) -> u64 {
    if bytes.is_empty() { 0 } else { bytes.as_mut_ptr().expose_provenance() as u64 }
}

/// Names as the kernel takes them: 15 bytes of letters, digits, `_` and `.`.
pub(crate) fn object_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().take(15).zip(name.bytes()) {
        *to = if from.is_ascii_alphanumeric() || from == b'_' || from == b'.' { from } else { b'_' };
    }
    bytes
}

/// The text of a name or log that the kernel wrote: up to its first zero byte.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// `BPF_MAP_CREATE`
pub(crate) fn map_create(attr: &mut attr::MapCreate) -> Result<OwnedFd, Errno> {
    // SAFETY: INV-5: no pointers in this attribute.
    unsafe { bpf_fd(Command::MapCreate, attr) }
}

/// What `BPF_PROG_LOAD` is given.
pub(crate) struct LoadArgs<'a> {
    pub(crate) prog_type: u32,
    pub(crate) attach_type: u32,
    pub(crate) flags: u32,
    pub(crate) name: &'a str,
    pub(crate) license: &'a CStr,
    pub(crate) slots: &'a [Slot],
    pub(crate) btf: Option<BorrowedFd<'a>>,
    pub(crate) func_info: &'a [attr::FuncInfo],
    pub(crate) line_info: &'a [attr::LineInfo],
    pub(crate) attach_btf_id: u32,
    pub(crate) ifindex: u32,
}

/// `BPF_PROG_LOAD`; the log is written into `log` when it is not empty.
pub(crate) fn prog_load(args: &LoadArgs<'_>, log: &mut [u8], log_level: u32) -> Result<OwnedFd, Errno> {
    let mut attr = attr::ProgLoad {
        prog_type: args.prog_type,
        insn_cnt: u32::try_from(args.slots.len()).map_err(|_| Errno::E2BIG)?,
        insns: address(args.slots),
        license: args.license.as_ptr().addr() as u64,
        log_level: if log.is_empty() { 0 } else { log_level },
        log_size: length(log),
        log_buf: address_mut(log),
        prog_flags: args.flags,
        prog_name: object_name(args.name),
        prog_ifindex: args.ifindex,
        expected_attach_type: args.attach_type,
        prog_btf_fd: args.btf.map_or(0, number),
        func_info_rec_size: size_of::<attr::FuncInfo>() as u32,
        func_info: address(args.func_info),
        func_info_cnt: args.func_info.len() as u32,
        line_info_rec_size: size_of::<attr::LineInfo>() as u32,
        line_info: address(args.line_info),
        line_info_cnt: args.line_info.len() as u32,
        attach_btf_id: args.attach_btf_id,
        ..Default::default()
    };
    if args.btf.is_none() {
        // Old kernels refuse the record sizes where they do not know the records.
        (attr.func_info_rec_size, attr.line_info_rec_size) = (0, 0);
    }
    // SAFETY: INV-5: all pointers are borrowed by `args` and `log`, with the lengths of their slices.
    unsafe { bpf_fd(Command::ProgLoad, &mut attr) }
}

/// `BPF_BTF_LOAD`
pub(crate) fn btf_load(btf: &[u8], log: &mut [u8]) -> Result<OwnedFd, Errno> {
    let mut attr = attr::BtfLoad {
        btf: address(btf),
        btf_size: length(btf),
        btf_log_buf: address_mut(log),
        btf_log_size: length(log),
        btf_log_level: u32::from(!log.is_empty()),
        btf_log_true_size: 0,
    };
    // SAFETY: INV-5: both slices are borrowed across the call, with their lengths.
    unsafe { bpf_fd(Command::BtfLoad, &mut attr) }
}

/// `BPF_OBJ_PIN`
pub(crate) fn obj_pin(fd: BorrowedFd<'_>, path: &CStr) -> Result<(), Errno> {
    let pathname = path.as_ptr().addr() as u64;
    let mut attr = attr::Obj { pathname, bpf_fd: number(fd), file_flags: 0 };
    // SAFETY: INV-5: the path is a C string borrowed across the call.
    unsafe { bpf(Command::ObjPin, &mut attr) }.map(drop)
}

/// `BPF_OBJ_GET`
pub(crate) fn obj_get(path: &CStr) -> Result<OwnedFd, Errno> {
    let pathname = path.as_ptr().addr() as u64;
    let mut attr = attr::Obj { pathname, bpf_fd: 0, file_flags: 0 };
    // SAFETY: INV-5: the path is a C string borrowed across the call.
    unsafe { bpf_fd(Command::ObjGet, &mut attr) }
}

/// Buffers of a test run; the kernel writes all but `data_in` (a `syscall` program writes `ctx_in` back).
pub(crate) struct RunBuffers<'a> {
    pub(crate) data_in: &'a [u8],
    pub(crate) data_out: &'a mut [u8],
    pub(crate) ctx_in: &'a mut [u8],
    pub(crate) ctx_out: &'a mut [u8],
}

/// Numbers of a test run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RunArgs {
    pub(crate) repeat: u32,
    pub(crate) flags: u32,
    pub(crate) cpu: u32,
    pub(crate) batch_size: u32,
}

/// `BPF_PROG_TEST_RUN`; the attribute as the kernel left it (also on failure: sizes with ENOSPC).
pub(crate) fn test_run(
    program: BorrowedFd<'_>,
    args: RunArgs,
    buffers: RunBuffers<'_>,
) -> (Result<(), Errno>, attr::TestRun) {
    let mut attr = attr::TestRun {
        prog_fd: number(program),
        data_size_in: length(buffers.data_in),
        data_size_out: length(buffers.data_out),
        data_in: address(buffers.data_in),
        data_out: address_mut(buffers.data_out),
        repeat: args.repeat,
        ctx_size_in: length(buffers.ctx_in),
        ctx_size_out: length(buffers.ctx_out),
        ctx_in: address_mut(buffers.ctx_in),
        ctx_out: address_mut(buffers.ctx_out),
        flags: args.flags,
        cpu: args.cpu,
        batch_size: args.batch_size,
        ..Default::default()
    };
    // SAFETY: INV-5: four slices borrowed across the call, with their lengths.
    let result = unsafe { bpf(Command::TestRun, &mut attr) };
    (result.map(drop), attr)
}

/// Kinds of kernel objects that have ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ObjectKind {
    Program,
    Map,
    Btf,
    Link,
}

/// `BPF_*_GET_NEXT_ID`: the id after `id`.
pub(crate) fn next_id(kind: ObjectKind, id: u32) -> Result<u32, Errno> {
    let command = match kind {
        ObjectKind::Program => 11,
        ObjectKind::Map => 12,
        ObjectKind::Btf => 23,
        ObjectKind::Link => 31,
    };
    let mut attr = attr::GetId { id, ..Default::default() };
    id_command(command, &mut attr)?;
    Ok(attr.next_id)
}

/// `BPF_*_GET_FD_BY_ID`
pub(crate) fn fd_by_id(kind: ObjectKind, id: u32) -> Result<OwnedFd, Errno> {
    let command = match kind {
        ObjectKind::Program => 13,
        ObjectKind::Map => 14,
        ObjectKind::Btf => 19,
        ObjectKind::Link => 30,
    };
    let fd = id_command(command, &mut attr::GetId { id, ..Default::default() })?;
    // SAFETY: INV-12: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn id_command(command: libc::c_long, attr: &mut attr::GetId) -> Result<i32, Errno> {
    let attr: *mut attr::GetId = attr;
    // SAFETY: INV-5: `attr` is a live structure of that size without pointers.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<attr::GetId>()) };
    if result < 0 { Err(last_errno()) } else { Ok(result as i32) }
}

/// `BPF_OBJ_GET_INFO_BY_FD` into `info`.
///
/// # Safety
/// INV-5 holds for the pointers in `info`.
unsafe fn info<T: Plain>(fd: BorrowedFd<'_>, info: &mut T) -> Result<(), Errno> {
    let info: *mut T = info;
    let address = info.expose_provenance() as u64;
    let mut attr = attr::Info { bpf_fd: number(fd), info_len: size_of::<T>() as u32, info: address };
    // SAFETY: INV-5: `info` is a live structure of that size; its own pointers by contract.
    unsafe { bpf(Command::InfoByFd, &mut attr) }.map(drop)
}

/// What the kernel says of a map.
pub(crate) fn map_info(fd: BorrowedFd<'_>) -> Result<attr::MapInfo, Errno> {
    let mut result = attr::MapInfo::default();
    // SAFETY: INV-5: all zero, no pointers.
    unsafe { info(fd, &mut result) }?;
    Ok(result)
}

/// What the kernel says of a program.
pub(crate) fn prog_info(fd: BorrowedFd<'_>) -> Result<attr::ProgInfo, Errno> {
    let mut result = attr::ProgInfo::default();
    // SAFETY: INV-5: all zero, no pointers.
    unsafe { info(fd, &mut result) }?;
    Ok(result)
}

/// Ids of the maps of a program.
pub(crate) fn prog_map_ids(fd: BorrowedFd<'_>) -> Result<Vec<u32>, Errno> {
    let mut ids = vec![0_u32; prog_info(fd)?.nr_map_ids as usize];
    let map_ids = ids.as_mut_ptr().expose_provenance() as u64;
    let mut request = attr::ProgInfo { map_ids, nr_map_ids: ids.len() as u32, ..Default::default() };
    // SAFETY: INV-5: `ids` is live and has `nr_map_ids` elements; the other pointers are zero.
    unsafe { info(fd, &mut request) }?;
    ids.truncate(request.nr_map_ids as usize);
    Ok(ids)
}

/// Native code of a program as the kernel's JIT made it; empty when it may not be read.
pub(crate) fn prog_native_code(fd: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    let mut code = vec![0; prog_info(fd)?.jited_prog_len as usize];
    let jited_prog_insns = address_mut(&mut code);
    let mut request =
        attr::ProgInfo { jited_prog_insns, jited_prog_len: length(&code), ..Default::default() };
    // SAFETY: INV-5: `code` is live and has `jited_prog_len` bytes; the other pointers are zero.
    unsafe { info(fd, &mut request) }?;
    Ok(if request.jited_prog_insns == 0 { Vec::new() } else { code })
}

/// Raw bytes of a BTF object.
pub(crate) fn btf_bytes(fd: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    let mut head = attr::BtfInfo::default();
    // SAFETY: INV-5: all zero, no pointers.
    unsafe { info(fd, &mut head) }?;
    let mut bytes = vec![0; head.btf_size as usize];
    let btf = address_mut(&mut bytes);
    let mut request = attr::BtfInfo { btf, btf_size: length(&bytes), ..Default::default() };
    // SAFETY: INV-5: `bytes` is live and has `btf_size` bytes; the name pointer is zero.
    unsafe { info(fd, &mut request) }?;
    Ok(bytes)
}

/// What the kernel says of a BTF object.
pub(crate) fn btf_info(fd: BorrowedFd<'_>) -> Result<attr::BtfInfo, Errno> {
    let mut result = attr::BtfInfo::default();
    // SAFETY: INV-5: all zero, no pointers.
    unsafe { info(fd, &mut result) }?;
    Ok(result)
}

/// What the kernel says of a link.
pub(crate) fn link_info(fd: BorrowedFd<'_>) -> Result<attr::LinkInfo, Errno> {
    let mut result = attr::LinkInfo::default();
    // SAFETY: INV-5: all zero, no pointers.
    unsafe { info(fd, &mut result) }?;
    Ok(result)
}

/// What a link is created with beside program, target and attach type.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LinkExtra {
    /// Nothing.
    None,
    /// Netfilter: protocol family, hook, priority, flags.
    Netfilter { family: u32, hook: u32, priority: i32, flags: u32 },
}

/// `BPF_LINK_CREATE`
pub(crate) fn link_create(
    program: BorrowedFd<'_>,
    target: u32,
    attach_type: u32,
    flags: u32,
    extra: LinkExtra,
) -> Result<OwnedFd, Errno> {
    let words = match extra {
        LinkExtra::None => [0; 4],
        LinkExtra::Netfilter { family, hook, priority, flags } => {
            let pair = |low: u32, high: u32| u64::from_ne_bytes(words_to_bytes(low, high));
            [pair(family, hook), pair(priority.cast_unsigned(), flags), 0, 0]
        }
    };
    let mut attr = attr::LinkCreate { prog_fd: number(program), target, attach_type, flags, extra: words };
    // SAFETY: INV-5: none of the variants above carries a pointer.
    unsafe { bpf_fd(Command::LinkCreate, &mut attr) }
}

fn words_to_bytes(first: u32, second: u32) -> [u8; 8] {
    let (a, b) = (first.to_ne_bytes(), second.to_ne_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]
}

/// `BPF_LINK_DETACH`
pub(crate) fn link_detach(link: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut attr = attr::LinkDetach { link_fd: number(link) };
    // SAFETY: INV-5: no pointers in this attribute.
    unsafe { bpf(Command::LinkDetach, &mut attr) }.map(drop)
}

/// `BPF_RAW_TRACEPOINT_OPEN`
pub(crate) fn raw_tracepoint_open(program: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let name = name.as_ptr().addr() as u64;
    let mut attr = attr::RawTracepointOpen { name, prog_fd: number(program), ..Default::default() };
    // SAFETY: INV-5: the name is a C string borrowed across the call.
    unsafe { bpf_fd(Command::RawTracepointOpen, &mut attr) }
}

/// Index of a network interface in this network namespace.
pub(crate) fn interface_index(name: &str) -> Result<u32, Errno> {
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    // SAFETY: INV-5: the name is a C string that lives across the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(Errno::ENODEV),
        index => Ok(index),
    }
}
