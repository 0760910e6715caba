//! Format strings of `bpf_snprintf` and its relatives.
#![forbid(unsafe_code)]

/// Number of arguments that the conversions of a format take; `None` if one is unknown.
pub(super) fn conversions(format: &[u8]) -> Option<usize> {
    let mut count = 0;
    let mut rest = format;
    while let Some((&first, after)) = rest.split_first() {
        if !(first.is_ascii_graphic() || first.is_ascii_whitespace()) {
            return None;
        }
        rest = after;
        if first != b'%' {
            continue;
        }
        if let Some(after) = rest.strip_prefix(b"%") {
            rest = after;
            continue;
        }
        let flags = rest.iter().take_while(|byte| matches!(byte, b'0' | b'+' | b'-' | b' ' | b'#')).count();
        rest = &rest[flags..];
        let width = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        rest = &rest[width..];
        rest = conversion(rest)?;
        count += 1;
    }
    (count <= 12).then_some(count)
}

/// What follows one conversion.
fn conversion(rest: &[u8]) -> Option<&[u8]> {
    if let Some(after) = rest.strip_prefix(b"p") {
        for suffix in [b"ks", b"us"] {
            if let Some(after) = after.strip_prefix(suffix) {
                return Some(after);
            }
        }
        for suffix in [b"i4", b"I4", b"i6", b"I6"] {
            if let Some(after) = after.strip_prefix(suffix) {
                return Some(after);
            }
        }
        return Some(match after.first() {
            Some(b'K' | b'x' | b's' | b'S' | b'B') => &after[1..],
            _ => after,
        });
    }
    if let Some(after) = rest.strip_prefix(b"s").or_else(|| rest.strip_prefix(b"c")) {
        return Some(after);
    }
    let longs = rest.iter().take_while(|byte| **byte == b'l').count().min(2);
    let after = &rest[longs..];
    match after.first() {
        Some(b'i' | b'd' | b'u' | b'x' | b'X') => Some(&after[1..]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::conversions;

    #[test]
    fn counts_conversions_and_refuses_unknown_ones() {
        for (format, count) in [
            (&b"x %d"[..], Some(1)),
            (b"100%%", Some(0)),
            (b"%-10s|%08llx|%pi4", Some(3)),
            (b"x %q", None),
            (b"%f", None),
            (b"%", None),
        ] {
            assert_eq!(conversions(format), count, "{}", String::from_utf8_lossy(format));
        }
    }
}
