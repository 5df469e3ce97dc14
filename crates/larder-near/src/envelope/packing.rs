//! Compression of large values, by zstd, if the crate is built with the feature `zstd`.

/// Which values are compressed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Packing {
    /// Those whose bytes are more than this; `None` for none.
    pub(crate) above: Option<usize>,
}

/// The most that a value may have uncompressed: what the servers allow for a value.
#[cfg(feature = "zstd")]
const MAX_PLAIN: u64 = 512 << 20;

#[cfg(feature = "zstd")]
impl Packing {
    /// The body as it is written if it is to be compressed, and becomes smaller by that.
    pub(crate) fn pack(self, body: &[u8]) -> Option<Vec<u8>> {
        if body.len() <= self.above? {
            return None;
        }
        let length = u32::try_from(body.len()).ok().filter(|it| u64::from(*it) <= MAX_PLAIN)?;
        let mut packed = length.to_le_bytes().to_vec();
        packed.extend(zstd::bulk::compress(body, LEVEL).ok()?);
        (packed.len() < body.len()).then_some(packed)
    }
}

/// The fastest of the ordinary levels.
#[cfg(feature = "zstd")]
const LEVEL: i32 = 1;

/// What [`Packing::pack`] was given. Takes no more memory than the frame yields, and the length that is named.
#[cfg(feature = "zstd")]
pub(crate) fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    use std::io::Read;

    let (length, frame) = packed.split_first_chunk()?;
    let length = u64::from(u32::from_le_bytes(*length));
    if length > MAX_PLAIN {
        return None;
    }
    let mut plain = Vec::new();
    // One more than there should be, to notice that there is more.
    let mut decoder = zstd::stream::read::Decoder::new(frame).ok()?.take(length + 1);
    decoder.read_to_end(&mut plain).ok()?;
    (plain.len() as u64 == length).then_some(plain)
}

#[cfg(not(feature = "zstd"))]
impl Packing {
    /// Nothing is compressed, whatever the setting.
    pub(crate) fn pack(self, _: &[u8]) -> Option<Vec<u8>> {
        debug_assert!(self.above.is_none(), "only the feature has the setting");
        None
    }
}

/// What was compressed by another process cannot be read.
#[cfg(not(feature = "zstd"))]
pub(crate) fn unpack(_: &[u8]) -> Option<Vec<u8>> {
    None
}

#[cfg(all(test, feature = "zstd"))]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_large_and_becomes_smaller_is_packed() {
        let packing = Packing { above: Some(100) };
        let (large, random): (Vec<u8>, Vec<u8>) = (vec![7; 1000], random(1000));
        assert!(packing.pack(&large[..100]).is_none() && packing.pack(&random).is_none());
        assert!(Packing::default().pack(&large).is_none());
        let packed = packing.pack(&large).unwrap();
        assert!(packed.len() < 100, "{}", packed.len());
        assert_eq!(unpack(&packed).unwrap(), large);
    }

    #[test]
    fn bytes_that_claim_another_length_are_refused() {
        let packed = Packing { above: Some(0) }.pack(&[7; 1000]).unwrap();
        for claimed in [0, 999, 1001, u32::MAX] {
            let mut forged = packed.clone();
            forged[..4].copy_from_slice(&u32::to_le_bytes(claimed));
            assert!(unpack(&forged).is_none(), "{claimed}");
        }
        for end in 0..packed.len() {
            assert!(unpack(&packed[..end]).is_none(), "cut at {end}");
        }
    }

    fn random(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }
}
