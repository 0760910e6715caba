//! One line of assembly as tokens.
#![forbid(unsafe_code)]

/// A token. Numbers keep their spelling: whether `1f` is a number or a label is up to the parser.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Token<'a> {
    /// A name, a keyword or a register.
    Word(&'a str),
    /// Anything that starts with a digit.
    Number(&'a str),
    /// Operators and brackets.
    Sign(&'static str),
}

/// Operators, longer ones first. `s>>=` and the like start with a letter and must not be read as a name.
const SIGNS: [&str; 36] = [
    "s>>=", "s/=", "s%=", "s>=", "s<=", "s>", "s<", "<<=", ">>=", "+=", "-=", "*=", "/=", "%=", "|=", "&=",
    "^=", "==", "!=", ">=", "<=", ">", "<", "=", "&", "+", "-", "*", "(", ")", "[", "]", ",", ":", "#", "!",
];

/// The part of a line before a comment (`;` or `//`).
pub(super) fn without_comment(line: &str) -> &str {
    let end = [line.find(';'), line.find("//")].into_iter().flatten().min();
    &line[..end.unwrap_or(line.len())]
}

/// Cuts a line into tokens; the offending character if there is none.
pub(super) fn tokens(line: &str) -> Result<Vec<Token<'_>>, char> {
    let mut tokens = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            tokens.push(Token::Sign(sign));
            sign.len()
        } else if is_word(first) {
            let length = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
            let word = &rest[..length];
            tokens.push(if first.is_ascii_digit() { Token::Number(word) } else { Token::Word(word) });
            length
        } else {
            return Err(first);
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

const fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$')
}

/// The value of a decimal or hexadecimal number.
pub(super) fn number(spelling: &str) -> Option<u64> {
    match spelling.strip_prefix("0x").or_else(|| spelling.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => spelling.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_operators_are_not_names() {
        let expect = [Token::Word("r1"), Token::Sign("s>>="), Token::Word("s1")];
        assert_eq!(tokens("r1 s>>= s1").expect("tokens"), expect);
    }

    #[test]
    fn comments_end_lines() {
        assert_eq!(without_comment("exit ; // done"), "exit ");
        assert_eq!(without_comment("exit // ; done"), "exit ");
    }
}
