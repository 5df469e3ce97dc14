//! The traces of the LIRS paper (Jiang and Zhang, SIGMETRICS 2002): one block number per line.
//! Lines that start with `*` separate programs and are skipped.

use crate::trace::columns::{Collector, Columns};
use crate::trace::error::TraceError;
use crate::trace::input::Input;
use crate::trace::number::parse_number;

pub(super) fn read(input: &mut Input, max_requests: u32) -> Result<Columns, TraceError> {
    let mut requests = Collector::new(max_requests);
    let mut line = Vec::new();
    while let Some(block) = input.next_line(&mut line)? {
        if block.is_empty() || block.starts_with(b"*") {
            continue;
        }
        parse_number("block", block, u64::MAX)
            .and_then(|block| requests.push(block))
            .map_err(|problem| input.bad_line(problem))?;
    }
    Ok(requests.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::input::tests::input;

    #[test]
    fn separators_and_blank_lines_are_skipped() {
        let columns = read(&mut input("*\n7\n 8 \n* program 2\n\n07\n9"), 10).unwrap();
        assert_eq!(columns.requests, [0, 1, 0, 2]);
    }

    #[test]
    fn a_malformed_line_is_named_wherever_it_is() {
        for (text, start) in [
            ("x\n1\n", "t:1: block `x` is not allowed"),
            ("1\n*\n1 2\n3\n", "t:3: block `1 2` is not allowed"),
            ("1\n2\n-3", "t:3: block `-3` is not allowed"),
            ("1\n2\n3\n4", "t:4: more than 3 requests"),
        ] {
            let failure = read(&mut input(text), 3).unwrap_err().to_string();
            assert!(failure.starts_with(start), "{failure}");
        }
    }
}
