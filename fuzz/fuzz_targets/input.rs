//! Maps bytes to operations on few keys with small weights, so that they collide.

use arbitrary::Arbitrary;

use crate::driver::Op;

/// The bytes that make one operation.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Step {
    kind: u8,
    key: u8,
    extra: u8,
}

impl Step {
    /// The operation that the bytes encode.
    pub fn op(self) -> Op {
        let key = u64::from(self.key % 48);
        let other = u64::from(self.extra % 48);
        let weight = u16::from(self.extra % 32);
        let is_odd = self.extra % 2 == 1;
        match self.kind % 32 {
            0..4 => Op::Get(key),
            4 => Op::Read(key),
            5 => Op::PinnedGet(key),
            6 => Op::Peek(key),
            7 => Op::PinnedPeek(key),
            8 => Op::ContainsKey(key),
            9..16 => Op::Insert(key, weight),
            16 | 17 => Op::InsertIfAbsent(key, weight),
            18 | 19 => Op::Replace(key, weight),
            20 | 21 => Op::Remove(key),
            22 => Op::RemoveIf(key, is_odd),
            23 => Op::Retain(u64::from(self.extra % 7)),
            24 if is_odd => Op::Clear,
            25 => Op::Burst { first: key, count: u64::from(self.extra) * 4, is_pinned: is_odd },
            26 | 27 => Op::InsertWhilePinned { read: other, key, weight },
            28 => Op::RunPending,
            29 => Op::Flush,
            _ => Op::Insert(key, 1),
        }
    }
}
