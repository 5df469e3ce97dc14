//! The traces of the ARC paper (Megiddo and Modha, FAST 2003): lines `start count ...`, each for
//! `count` blocks starting at number `start`. The rest of a line (an unused field and a request
//! number) is ignored.

use crate::trace::columns::{Collector, Columns};
use crate::trace::error::{Problem, TraceError};
use crate::trace::input::Input;
use crate::trace::number::parse_number;

pub(super) fn read(input: &mut Input, max_requests: u32) -> Result<Columns, TraceError> {
    let mut requests = Collector::new(max_requests);
    let mut line = Vec::new();
    while let Some(text) = input.next_line(&mut line)? {
        if !text.is_empty() {
            expand(text, &mut requests).map_err(|problem| input.bad_line(problem))?;
        }
    }
    Ok(requests.finish())
}

fn expand(line: &[u8], requests: &mut Collector<u64>) -> Result<(), Problem> {
    let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let (Some(start), Some(count)) = (fields.next(), fields.next()) else {
        return Err(Problem::NoCount);
    };
    let start = parse_number("start", start, u64::MAX)?;
    let count = parse_number("count", count, u64::MAX)?;
    let Some(more) = count.checked_sub(1) else {
        return Err(Problem::NoBlock);
    };
    let Some(last) = start.checked_add(more) else {
        return Err(Problem::PastLastBlock { start, count });
    };
    requests.reserve(count)?;
    for block in start..=last {
        requests.push(block)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::input::tests::input;

    fn failure(text: &str) -> String {
        read(&mut input(text), 100).unwrap_err().to_string()
    }

    #[test]
    fn lines_are_expanded_to_blocks() {
        let columns = read(&mut input("10 3 0 1\n\n11\t2\r\n18446744073709551615 1 0 3"), 100);
        let columns = columns.unwrap();
        assert_eq!(columns.requests, [0, 1, 2, 1, 2, 3]);
        assert_eq!(columns.distinct_keys, 4);
    }

    #[test]
    fn a_malformed_line_is_named_wherever_it_is() {
        assert!(failure("x 1 0 0\n1 1 0 0\n").starts_with("t:1: start `x` is not allowed"));
        assert!(failure("1 1 0 0\n1 -1 0 0\n1 1 0 0").starts_with("t:2: count `-1` is not"));
        assert!(failure("1 1 0 0\n\n7").starts_with("t:3: the count is missing"));
        assert!(failure("1 0 0 0\n").starts_with("t:1: count 0 asks for no block"));
    }

    #[test]
    fn a_huge_count_is_refused_before_it_is_expanded() {
        let problem = "more than 100 requests; raise --max-requests";
        assert!(failure("1 1\n0 1099511627776 0 0\n").starts_with(&format!("t:2: {problem}")));
        assert!(failure("0 18446744073709551615\n").starts_with(&format!("t:1: {problem}")));
        assert!(failure("0 60\n0 41\n").starts_with(&format!("t:2: {problem}")));
        assert!(failure("2 18446744073709551615\n").contains("run past the last block number"));
    }
}
