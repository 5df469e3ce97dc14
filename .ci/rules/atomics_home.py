"""Atomics come from `crate::base::sync` and the epoch from `crate::reclaim`, where models replace them."""

import re

from _files import files, matching

EXEMPT = r"^src/(base/sync|reclaim|memory)\.rs$|^src/(reclaim|memory)/"


def check(root):
    paths = [path for path in files(root, r"^src/.*\.rs$") if not re.search(EXEMPT, path)]
    return matching(root, paths, r"(std|core)::sync::atomic|crossbeam_epoch")


GOOD = [{
    "src/a.rs": "use crate::base::sync::AtomicU64;\n",
    "src/base/sync.rs": "pub(crate) use std::sync::atomic;\n",
    "src/reclaim/epoch.rs": "use crossbeam_epoch::Guard;\n",
    "tests/a.rs": "use std::sync::atomic::AtomicU64;\n",
}]
BAD = [
    {"src/a.rs": "use std::sync::atomic::AtomicU64;\n"},
    {"src/a.rs": "let a = core::sync::atomic::AtomicU8::new(1);\n"},
    {"src/cache/sync.rs": "use crossbeam_epoch::Guard;\n"},
]
