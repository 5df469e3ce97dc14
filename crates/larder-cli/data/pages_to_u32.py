#!/usr/bin/env python3
"""Turns the text of the kernel's filemap tracepoints (stdin) into little-endian u32 page ids (stdout).

A page is (device, inode, page number); pages are numbered by first appearance, so no name, inode
or time of the recording machine reaches the output.
"""

import array
import re
import sys

PAGE_BYTES = 4096
EVENT = re.compile(
    r"-(?P<pid>\d+)\s+\[\d+\].* mm_filemap_(?P<event>get_pages|map_pages|fault): "
    r"dev=(?P<dev>\d+:\d+) ino=(?P<ino>[0-9a-f]+) ofs=(?P<first>\d+)(?:-(?P<last>\d+))?"
)


def pages(lines):
    """Yields (pid, page) of each lookup, in the order of the trace."""
    for line in lines:
        match = EVENT.search(line)
        if match is None:
            continue
        first = int(match["first"]) // PAGE_BYTES
        last = first
        # A read requests each page of its range. A fault requests one page; the pages that
        # `map_pages` maps beyond it are the kernel's guess.
        if match["event"] == "get_pages":
            last = int(match["last"]) // PAGE_BYTES
        for page in range(first, last + 1):
            yield match["pid"], (match["dev"], match["ino"], page)


def main():
    ids = {}
    requests = array.array("I")
    last_of = {}
    for pid, page in pages(sys.stdin):
        # A read loop looks up the page again at the end of the file, and a fault that `map_pages`
        # did not resolve is looked up again by `fault`; each counts as one request.
        if last_of.get(pid) != page:
            last_of[pid] = page
            requests.append(ids.setdefault(page, len(ids)))
    if sys.byteorder == "big":
        requests.byteswap()
    requests.tofile(sys.stdout.buffer)
    print(f"{len(requests)} requests, {len(ids)} pages", file=sys.stderr)


if __name__ == "__main__":
    main()
