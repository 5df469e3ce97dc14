//! Plain text: one key per line. A key is any bytes; blank lines are skipped.

use crate::trace::columns::{Collector, Columns};
use crate::trace::digest::Digests;
use crate::trace::error::{Excerpt, TraceError};
use crate::trace::input::Input;
use crate::trace::warning::Warning;

pub(super) fn read(input: &mut Input, max_requests: u32) -> Result<Columns, TraceError> {
    let mut requests = Collector::new(max_requests);
    let digests = Digests::default();
    // A warning about a first line that is not a number, as long as all lines after it are numbers.
    let mut header = None;
    let (mut line, mut lines) = (Vec::new(), 0);
    while let Some(key) = input.next_line(&mut line)? {
        lines += 1;
        if key.is_empty() {
            continue;
        }
        let is_number = key.iter().all(u8::is_ascii_digit);
        if requests.is_empty() && !is_number {
            header = Some(Warning::HeaderLikely { line: lines, text: Excerpt::new(key) });
        } else if !is_number {
            header = None;
        }
        requests.push(digests.of(key)).map_err(|problem| input.bad_line(problem))?;
    }
    if let Some(header) = header.filter(|_| requests.len() > 1) {
        requests.warn(header);
    }
    Ok(requests.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::input::tests::input;

    #[test]
    fn equal_lines_are_one_key_numbered_by_first_appearance() {
        let columns = read(&mut input("b\na\r\n\n b \nc\na"), 10).unwrap();
        assert_eq!(columns.requests, [0, 1, 0, 2, 1]);
        assert_eq!(columns.distinct_keys, 3);
        assert_eq!(columns.sizes_bytes, None);
    }

    #[test]
    fn a_first_line_that_is_not_a_number_before_numbers_is_warned_of() {
        for (text, is_warned) in [
            ("\nkey\n1\n2\n", true),
            ("key\n1\nx\n", false),
            ("1\n2\n", false),
            ("1\nkey\n", false),
            ("key\n", false),
        ] {
            let warnings = read(&mut input(text), 10).unwrap().warnings;
            assert_eq!(warnings.len(), usize::from(is_warned), "{text}");
            let start = "line 2, `key`, counts as a request";
            assert!(warnings.iter().all(|warning| warning.to_string().starts_with(start)));
        }
    }

    #[test]
    fn the_line_that_breaks_the_limit_is_named() {
        assert_eq!(read(&mut input("a\n\nb\n"), 2).unwrap().requests, [0, 1]);
        let failure = read(&mut input("a\n\nb\nc\n"), 2).unwrap_err().to_string();
        assert!(failure.starts_with("t:4: more than 2 requests"), "{failure}");
    }

    #[test]
    fn binary_data_is_refused_with_its_line() {
        for (bytes, line) in [(&b"\0a\nb\n"[..], 1), (b"a\n\0\nb\n", 2), (b"a\nb\nc\0", 3)] {
            let failure = read(&mut input(bytes), 10).unwrap_err().to_string();
            assert!(failure.starts_with(&format!("t:{line}: a NUL byte")), "{failure}");
        }
    }
}
