//! Helpers on socket buffers.
#![forbid(unsafe_code)]

use super::*;
use crate::ctx::SkbContext;

#[test]
fn socket_buffer_helpers_agree_with_the_kernel() {
    use ProgramType::{CgroupSkb, SchedCls, SocketFilter};
    /// Stands for the address of memory.
    const AT: u64 = u64::MAX;
    // Type, helper, registers; result, first word of the memory, words 0 and 2 of the IPv4 header.
    type Row = (ProgramType, &'static str, [u64; 5], i64, u32, u64);
    #[rustfmt::skip]
    let rows: &[Row] = &[
        (SchedCls, "skb_load_bytes", [0, 0x0, AT, 0x4, 0x0], 0, 0x00000000, 0x4500002840061234),
        (SchedCls, "skb_load_bytes", [0, 0xe, AT, 0x4, 0x0], 0, 0x45000028, 0x4500002840061234),
        (SchedCls, "skb_load_bytes", [0, 0x38, AT, 0x4, 0x0], 0, 0x16171819, 0x4500002840061234),
        (SchedCls, "skb_load_bytes", [0, 0x39, AT, 0x4, 0x0], -14, 0x00000000, 0x4500002840061234),
        (SchedCls, "skb_load_bytes", [0, 0x80000000, AT, 0x1, 0x0], -14, 0x00eeeeee, 0x4500002840061234),
        (SocketFilter, "skb_load_bytes", [0, 0x0, AT, 0x4, 0x0], 0, 0x45000028, 0x4500002840061234),
        (SocketFilter, "skb_load_bytes", [0, 0x2a, AT, 0x4, 0x0], 0, 0x16171819, 0x4500002840061234),
        (SocketFilter, "skb_load_bytes", [0, 0x2b, AT, 0x4, 0x0], -14, 0x00000000, 0x4500002840061234),
        (CgroupSkb, "skb_load_bytes", [0, 0x2d, AT, 0x1, 0x0], 0, 0x19eeeeee, 0x4500002840061234),
        (CgroupSkb, "skb_load_bytes", [0, 0x2e, AT, 0x1, 0x0], -14, 0x00eeeeee, 0x4500002840061234),
        (SchedCls, "skb_load_bytes_relative", [0, 0x0, AT, 0x4, 0x1], 0, 0x45000028, 0x4500002840061234),
        (SchedCls, "skb_load_bytes_relative", [0, 0x2d, AT, 0x1, 0x1], 0, 0x19eeeeee, 0x4500002840061234),
        (SchedCls, "skb_load_bytes_relative", [0, 0x2e, AT, 0x1, 0x1], -14, 0x00eeeeee, 0x4500002840061234),
        (SchedCls, "skb_load_bytes_relative", [0, 0x3b, AT, 0x1, 0x0], 0, 0x19eeeeee, 0x4500002840061234),
        (SchedCls, "skb_load_bytes_relative", [0, 0x3c, AT, 0x1, 0x0], -14, 0x00eeeeee, 0x4500002840061234),
        (SocketFilter, "skb_load_bytes_relative", [0, 0xc, AT, 0x4, 0x0], 0, 0x08004500, 0x4500002840061234),
        (SocketFilter, "skb_load_bytes_relative", [0, 0x0, AT, 0x4, 0x1], 0, 0x45000028, 0x4500002840061234),
        (CgroupSkb, "skb_load_bytes_relative", [0, 0x2e, AT, 0x1, 0x1], -14, 0x00eeeeee, 0x4500002840061234),
        (SchedCls, "skb_load_bytes_relative", [0, 0x10000, AT, 0x1, 0x0], -14, 0x00eeeeee, 0x4500002840061234),
        (SchedCls, "skb_load_bytes_relative", [0, 0x0, AT, 0x4, 0x2], -14, 0x00000000, 0x4500002840061234),
        (SchedCls, "skb_store_bytes", [0, 0xe, AT, 0x4, 0x0], 0, 0xeeeeeeee, 0xeeeeeeee40061234),
        (SchedCls, "skb_store_bytes", [0, 0x16, AT, 0x2, 0x3], 0, 0xeeeeeeee, 0x45000028eeee1234),
        (SchedCls, "skb_store_bytes", [0, 0x39, AT, 0x4, 0x0], -14, 0xeeeeeeee, 0x4500002840061234),
        (SchedCls, "skb_store_bytes", [0, 0xe, AT, 0x4, 0x4], -22, 0xeeeeeeee, 0x4500002840061234),
        (SchedCls, "skb_store_bytes", [0, 0x80000000, AT, 0x1, 0x0], -14, 0xeeeeeeee, 0x4500002840061234),
        (SchedCls, "l3_csum_replace", [0, 0x18, 0x0, 0x1234, 0x0], 0, 0xeeeeeeee, 0x450000284006de21),
        (SchedCls, "l3_csum_replace", [0, 0x18, 0x1, 0x1234, 0x0], -22, 0xeeeeeeee, 0x4500002840061234),
        (SchedCls, "l3_csum_replace", [0, 0x18, 0x1111, 0x2222, 0x2], 0, 0xeeeeeeee, 0x4500002840060123),
        (SchedCls, "l3_csum_replace", [0, 0x18, 0xc0a80001, 0xa000001, 0x4], 0, 0xeeeeeeee, 0x450000284006baea),
        (SchedCls, "l3_csum_replace", [0, 0x18, 0x0, 0x0, 0x1], -22, 0xeeeeeeee, 0x4500002840061234),
        (SchedCls, "l3_csum_replace", [0, 0x18, 0x0, 0x0, 0x10], -22, 0xeeeeeeee, 0x4500002840061234),
        (SchedCls, "l3_csum_replace", [0, 0x19, 0x0, 0x0, 0x2], -14, 0xeeeeeeee, 0x4500002840061234),
        (SchedCls, "l3_csum_replace", [0, 0x3b, 0x1, 0x2, 0x2], -14, 0xeeeeeeee, 0x4500002840061234),
        (SchedCls, "l3_csum_replace", [0, 0x18, 0xffff, 0x0, 0x2], 0, 0xeeeeeeee, 0x4500002840061234),
        (SchedCls, "l3_csum_replace", [0, 0x18, 0x12345, 0x54321, 0x2], 0, 0xeeeeeeee, 0x4500002840063614),
        (SchedCls, "l3_csum_replace", [0, 0x18, 0xcbed, 0x0, 0x2], 0, 0xeeeeeeee, 0x4500002840060000),
        (SchedCls, "l3_csum_replace", [0, 0x18, 0xcbed, 0x0, 0x22], -22, 0xeeeeeeee, 0x4500002840061234),
        (SchedCls, "l3_csum_replace", [0, 0x18, 0x0, 0x0, 0x80], -22, 0xeeeeeeee, 0x4500002840061234),
        (SchedCls, "l3_csum_replace", [0, 0x18, 0x0, 0x0, 0x100], -22, 0xeeeeeeee, 0x4500002840061234),
        (SchedCls, "l4_csum_replace", [0, 0x18, 0x0, 0x1234, 0x0], 0, 0xeeeeeeee, 0x450000284006de21),
        (SchedCls, "l4_csum_replace", [0, 0x18, 0x1, 0x1234, 0x0], -22, 0xeeeeeeee, 0x4500002840061234),
        (SchedCls, "l4_csum_replace", [0, 0x18, 0x1111, 0x2222, 0x2], 0, 0xeeeeeeee, 0x4500002840060123),
        (SchedCls, "l4_csum_replace", [0, 0x18, 0xc0a80001, 0xa000001, 0x4], 0, 0xeeeeeeee, 0x450000284006baea),
        (SchedCls, "l4_csum_replace", [0, 0x18, 0x0, 0x0, 0x1], -22, 0xeeeeeeee, 0x4500002840061234),
        (SchedCls, "l4_csum_replace", [0, 0x18, 0x0, 0x0, 0x10], 0, 0xeeeeeeee, 0x4500002840061234),
        (SchedCls, "l4_csum_replace", [0, 0x19, 0x0, 0x0, 0x2], -14, 0xeeeeeeee, 0x4500002840061234),
        (SchedCls, "l4_csum_replace", [0, 0x3b, 0x1, 0x2, 0x2], -14, 0xeeeeeeee, 0x4500002840061234),
        (SchedCls, "l4_csum_replace", [0, 0x18, 0xffff, 0x0, 0x2], 0, 0xeeeeeeee, 0x4500002840061234),
        (SchedCls, "l4_csum_replace", [0, 0x18, 0x12345, 0x54321, 0x2], 0, 0xeeeeeeee, 0x4500002840063614),
        (SchedCls, "l4_csum_replace", [0, 0x18, 0xcbed, 0x0, 0x2], 0, 0xeeeeeeee, 0x4500002840060000),
        (SchedCls, "l4_csum_replace", [0, 0x18, 0xcbed, 0x0, 0x22], 0, 0xeeeeeeee, 0x450000284006ffff),
        (SchedCls, "l4_csum_replace", [0, 0x18, 0x0, 0x0, 0x80], 0, 0xeeeeeeee, 0x4500002840061234),
        (SchedCls, "l4_csum_replace", [0, 0x18, 0x0, 0x0, 0x100], -22, 0xeeeeeeee, 0x4500002840061234),
        (SchedCls, "skb_pull_data", [0, 0x0, 0x0, 0x0, 0x0], 0, 0xeeeeeeee, 0x4500002840061234),
        (SchedCls, "skb_pull_data", [0, 0x3c, 0x0, 0x0, 0x0], 0, 0xeeeeeeee, 0x4500002840061234),
        (SchedCls, "skb_pull_data", [0, 0x3d, 0x0, 0x0, 0x0], -12, 0xeeeeeeee, 0x4500002840061234),
        (SchedCls, "skb_pull_data", [0, 0xffffffff, 0x0, 0x0, 0x0], -12, 0xeeeeeeee, 0x4500002840061234),
    ];
    let mut frame = vec![0; 12];
    frame.extend([
        8, 0, 0x45, 0, 0, 0x28, 0, 1, 0, 0, 0x40, 6, 0x12, 0x34, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 2,
    ]);
    frame.extend(0..26);
    for &(program_type, name, registers, result, memory_out, header_out) in rows {
        let mut packet = Packet::new(0).unwrap();
        packet.set(&frame).unwrap();
        let memory = SharedBytes::new(16).unwrap();
        memory.fill(0, 16, 0xee);
        let registers = registers.map(|register| if register == AT { memory.address() } else { register });
        let mut context = SkbContext::new(&mut packet, program_type);
        let got = call(name, &mut context, &[], &memory, &Effects::default(), registers);
        assert_eq!(got, Ok(result), "{name} {registers:x?}");
        assert_eq!(u32::from_be_bytes(memory.bytes(0, 4).array(0)), memory_out, "{name} {registers:x?}");
        let bytes = packet.bytes();
        let words = [&bytes[14..18], &bytes[22..26]].concat();
        assert_eq!(words, header_out.to_be_bytes(), "{name} {registers:x?}");
    }
}
