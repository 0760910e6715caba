//! Sockets: found by the environment, lent to the program until the end of the run.
#![forbid(unsafe_code)]

use super::errno::EINVAL;
use crate::abi::ExecContext;
use crate::environment::{STATE_LISTEN, SocketQuery, TCP};
use crate::mem::Bytes;

const UDP: u32 = 17;

/// Address of a socket, or 0.
fn lookup(
    cx: &ExecContext<'_>,
    (protocol, any): (u32, bool),
    tuple: Bytes<'_>,
    namespace: u64,
    flags: u64,
) -> u64 {
    // Bytes of `struct bpf_sock_tuple` say which addresses it has.
    let sized = matches!(tuple.len(), 12 | 36);
    // A negative namespace is the program's own, as 32 bits.
    let own = (namespace as i32) < 0;
    if !sized || flags != 0 || !(own || namespace <= i32::MAX as u64) {
        return 0;
    }
    let namespace = if own { -1 } else { namespace.cast_signed() };
    let query = SocketQuery { protocol, tuple: tuple.to_vec(), namespace, any };
    cx.environment.find_socket(&query).map_or(0, |socket| cx.effects.lend(socket))
}

pub(super) fn lookup_tcp(cx: &ExecContext<'_>, tuple: Bytes<'_>, namespace: u64, flags: u64) -> u64 {
    lookup(cx, (TCP, false), tuple, namespace, flags)
}

pub(super) fn lookup_udp(cx: &ExecContext<'_>, tuple: Bytes<'_>, namespace: u64, flags: u64) -> u64 {
    lookup(cx, (UDP, false), tuple, namespace, flags)
}

pub(super) fn lookup_any_tcp(cx: &ExecContext<'_>, tuple: Bytes<'_>, namespace: u64, flags: u64) -> u64 {
    lookup(cx, (TCP, true), tuple, namespace, flags)
}

/// The run keeps it all the same: other pointers may lead to it.
pub(super) fn release(_cx: &ExecContext<'_>) -> i64 {
    0
}

/// Sockets of the environment are full ones.
pub(super) fn full(cx: &ExecContext<'_>, socket: u64) -> u64 {
    cx.effects.socket(socket).map_or(0, |socket| socket.address())
}

pub(super) fn tcp(cx: &ExecContext<'_>, socket: u64) -> u64 {
    cx.effects.socket(socket).and_then(|socket| socket.tcp_address()).unwrap_or(0)
}

pub(super) fn listener(cx: &ExecContext<'_>, socket: u64) -> u64 {
    let socket = cx.effects.socket(socket).filter(|socket| socket.info().state == STATE_LISTEN);
    socket.map_or(0, |socket| socket.address())
}

pub(super) fn assign(cx: &ExecContext<'_>, socket: u64, flags: u64) -> i64 {
    match cx.effects.socket(socket) {
        Some(socket) if flags == 0 => {
            cx.effects.set_assigned_socket(socket.info().handle);
            0
        }
        Some(_) | None => EINVAL,
    }
}
