//! gzip files: several members in a row, and zeros after the last.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// Reads all members of a gzip file. Zeros after a member are padding, which tapes and block
/// devices add and `gzip` itself skips; anything else there is an error.
pub(super) struct GzipMembers<R> {
    /// `None` after the last member.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> GzipMembers<R> {
    pub(super) fn new(packed: R) -> Self {
        GzipMembers { member: Some(GzDecoder::new(packed)) }
    }
}

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(member) = &mut self.member {
            let given = member.read(buffer)?;
            if given > 0 {
                return Ok(given);
            }
            // The member has ended. It stays in place if the padding cannot be read.
            if skip_zeros(member.get_mut())? {
                self.member = self.member.take().map(|member| GzDecoder::new(member.into_inner()));
            } else {
                self.member = None;
            }
        }
        Ok(0)
    }
}

/// Skips zeros; false at the end of the file.
fn skip_zeros(packed: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = match packed.fill_buf() {
            Err(failure) if failure.kind() == io::ErrorKind::Interrupted => continue,
            bytes => bytes?,
        };
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        let (is_end, is_all) = (bytes.is_empty(), zeros == bytes.len());
        packed.consume(zeros);
        if is_end || !is_all {
            return Ok(!is_end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::input::tests::gzip;

    fn unpacked(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        GzipMembers::new(packed).read_to_end(&mut plain).map(|_| plain)
    }

    #[test]
    fn zeros_behind_members_are_padding() {
        for padding in [0, 1, 3, 512, 100_000] {
            let padded = [gzip(b"a\n"), vec![0; padding]].concat();
            assert_eq!(unpacked(&padded).unwrap(), b"a\n", "{padding}");
            let twice = [&padded[..], &padded].concat();
            assert_eq!(unpacked(&twice).unwrap(), b"a\na\n", "{padding}");
        }
    }

    #[test]
    fn anything_else_after_a_member_is_an_error() {
        for tail in [&b"x"[..], b"\0\0x", b"\0\x1f\x8b"] {
            assert!(unpacked(&[&gzip(b"a\n"), tail].concat()).is_err(), "{tail:?}");
        }
    }
}
