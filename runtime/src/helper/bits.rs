//! The iterator over bits: `struct bpf_iter_bits` on the program's stack.
//!
//! One word is kept in the iterator; more are copied to an object, whose address the iterator holds. What stands in the
//! iterator is only believed as far as that object goes.
#![forbid(unsafe_code)]

use super::errno::{E2BIG, EFAULT, EINVAL, ENOMEM};
use super::probe;
use crate::abi::ExecContext;
use crate::heap::{ObjectType, heap};
use crate::mem::BytesMut;

/// Most words that are looked at (`BITS_ITER_NR_WORDS_MAX`).
const MOST_WORDS: u32 = 511;
/// The word, or the address of many.
const BITS: u64 = 0;
/// How many bits there are.
const COUNT: u64 = 8;
/// The bit that was given last: programs get its address.
const BIT: u64 = 12;

pub(super) fn new(cx: &ExecContext<'_>, iterator: BytesMut<'_>, address: u64, words: u32) -> i32 {
    iterator.fill(0);
    iterator.write(BIT, &(-1_i32).to_ne_bytes());
    if address == 0 || words == 0 {
        return EINVAL as i32; // an error number, as below
    }
    if words > MOST_WORDS {
        return E2BIG as i32;
    }
    let count = 64 * words;
    if words == 1 {
        if probe::read_kernel(cx, iterator.part(BITS, 8), address) != 0 {
            return EFAULT as i32;
        }
        iterator.write(COUNT, &count.to_ne_bytes());
        return 0;
    }
    let bytes = u64::from(8 * words);
    let copy = heap().and_then(|heap| {
        let copy = heap.allocate(heap.know(ObjectType { size: 8 * words, fields: Vec::new() }))?;
        Some((heap, copy, heap.memory().offset_of(copy, bytes)?))
    });
    let Some((heap, copy, offset)) = copy else { return ENOMEM as i32 };
    let error = probe::read_kernel(cx, heap.memory().bytes_mut(offset, bytes), address);
    if error != 0 {
        heap.release(copy);
        return error as i32;
    }
    cx.effects.hold(copy);
    iterator.write(BITS, &copy.to_ne_bytes());
    iterator.write(COUNT, &count.to_ne_bytes());
    0
}

pub(super) fn next(_cx: &ExecContext<'_>, iterator: BytesMut<'_>) -> u64 {
    let number = |at| i32::from_ne_bytes(iterator.as_bytes().array(at));
    let (count, last) = (number(COUNT), number(BIT));
    if last >= count {
        return 0;
    }
    let word = |index: i32| {
        let bits = u64::from_ne_bytes(iterator.as_bytes().array(BITS));
        if count == 64 {
            return bits;
        }
        let at = bits.wrapping_add_signed(8 * i64::from(index));
        heap()
            .and_then(|heap| Some(heap.words::<1>(at)?[0].load(std::sync::atomic::Ordering::Relaxed)))
            .unwrap_or(0)
    };
    let start = last.max(-1) + 1;
    let mut found = count;
    // At most `MOST_WORDS`; a program that nobody verified may have written another count.
    for index in (start / 64..).take(MOST_WORDS as usize).take_while(|index| index * 64 < count) {
        let behind = if index == start / 64 { u64::MAX << (start % 64) } else { u64::MAX };
        let left = word(index) & behind;
        if left != 0 {
            found = index * 64 + left.trailing_zeros().cast_signed();
            break;
        }
    }
    iterator.write(BIT, &found.to_ne_bytes());
    if found >= count { 0 } else { iterator.as_bytes().address() + BIT }
}

pub(super) fn destroy(cx: &ExecContext<'_>, iterator: BytesMut<'_>) {
    let count = i32::from_ne_bytes(iterator.as_bytes().array(COUNT));
    let copy = u64::from_ne_bytes(iterator.as_bytes().array(BITS));
    if count > 64 && cx.effects.holds(copy) {
        super::object::drop_object(cx, copy);
    }
    iterator.fill(0);
}
