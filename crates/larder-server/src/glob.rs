//! Patterns of keys and channels, by the rules of Redis.
//!
//! | pattern | matches |
//! |---|---|
//! | `*` | any bytes, or none |
//! | `?` | one byte |
//! | `[a-c_]`, `[^a-c_]` | one byte that is, or is not, one of these; without `]`, the class goes to the end |
//! | `\` and a byte | that byte |
//! | any other byte | itself |
//!
//! # Complexity
//! O(pattern × text) at most: only the last `*` is ever tried again, because an earlier one that took more would
//! leave less for what follows it.
#![forbid(unsafe_code)]

/// Whether the whole of `text` matches `pattern`.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    matches_with(pattern, text, |a, b| a == b)
}

/// As [`matches`], with upper and lower case taken as equal, except in classes.
pub(crate) fn matches_ignoring_case(pattern: &[u8], text: &[u8]) -> bool {
    matches_with(pattern, text, |a, b| a.eq_ignore_ascii_case(&b))
}

fn matches_with(pattern: &[u8], text: &[u8], is_equal: impl Fn(u8, u8) -> bool) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    // After the last `*`: where the pattern goes on, and how far the `*` has taken the text.
    let mut star: Option<(usize, usize)> = None;
    loop {
        let step = match (pattern.get(at_pattern), text.get(at_text)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                at_pattern += 1;
                star = Some((at_pattern, at_text));
                continue;
            }
            (Some(_), Some(byte)) => one_byte(&pattern[at_pattern..], *byte, &is_equal),
            (None, Some(_)) | (Some(_), None) => None,
        };
        match (step, star) {
            (Some(length), _) => {
                at_pattern += length;
                at_text += 1;
            }
            // The `*` takes one byte more.
            (None, Some((resume, taken))) if taken < text.len() => {
                star = Some((resume, taken + 1));
                at_pattern = resume;
                at_text = taken + 1;
            }
            (None, _) => return false,
        }
    }
}

/// Whether the first part of `pattern`, which is neither empty nor a `*`, matches `byte`; if so, how long it is.
fn one_byte(pattern: &[u8], byte: u8, is_equal: &impl Fn(u8, u8) -> bool) -> Option<usize> {
    match *pattern {
        [b'?', ..] => Some(1),
        [b'[', ref class @ ..] => class_matches(class, byte).map(|length| length + 1),
        [b'\\', escaped, ..] => is_equal(escaped, byte).then_some(2),
        [literal, ..] => is_equal(literal, byte).then_some(1),
        [] => None,
    }
}

/// Whether a class, which is given without its first bracket, matches `byte`; if so, how long it is with its
/// last bracket.
fn class_matches(class: &[u8], byte: u8) -> Option<usize> {
    let is_negated = class.first() == Some(&b'^');
    let mut at = usize::from(is_negated);
    let mut is_member = false;
    loop {
        at += match class[at..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', escaped, ..] => {
                is_member |= escaped == byte;
                2
            }
            [first, b'-', last, ..] => {
                is_member |= (first.min(last)..=first.max(last)).contains(&byte);
                3
            }
            [single, ..] => {
                is_member |= single == byte;
                1
            }
        };
    }
    (is_member != is_negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_with_redis() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "abc", true),
            ("**", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("h[a-b]llo", "hcllo", false),
            (r"h\*llo", "h*llo", true),
            (r"h\*llo", "hello", false),
            (r"\[a]", "[a]", true),
            (r"[\]]", "]", true),
            (r"a\", r"a\", true),
            // A class without its end goes to the end of the pattern.
            ("[ab", "b", true),
            ("[ab", "c", false),
            ("[", "a", false),
            ("[^", "a", true),
            ("[]", "]", false),
            // The bracket is the end of a range here, from `]` to `a`.
            ("[a-]", "-", false),
            ("[a-]", "]", true),
            ("[a-", "-", true),
            ("a[b-", "ab", true),
            ("*[0-9]*x", "key:7:x", true),
            ("abc", "ABC", false),
            ("*ab*abc", "abababc", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} against {text}"
            );
        }
        assert!(matches_ignoring_case(b"Max*", b"maxmemory"));
        assert!(!matches(b"Max*", b"maxmemory"));
    }

    #[test]
    fn no_pattern_takes_exponential_time() {
        // With a search that tries every `*` anew, this would not end.
        let pattern = b"*a".repeat(2000);
        let text = b"a".repeat(1999);
        assert!(!matches(&pattern, &text));
        assert!(matches(&pattern, &b"a".repeat(2000)));
    }
}
