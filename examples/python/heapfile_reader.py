#!/usr/bin/env python3
"""Shows what an arena holds, as lines of JSON; an arena that is open elsewhere is refused.

    python3 examples/python/heapfile_reader.py FILE [info | blocks | roots | entries | all | collection ROOT [--align N]]
"""

import argparse
import base64
import json
import os
import sys
from typing import Dict, Iterator

from heapfile import Arena, ArenaError, Heap, entries
from heapfile.arena import POWER
from heapfile.collections import collection
from heapfile.image import need

Line = Dict[str, object]


def info(arena: Arena, heap: Heap) -> Iterator[Line]:
    block = arena.superblock
    extents = heap.free_tree()[0]
    lengths = [length for _, length in heap.blocks()]
    yield {
        "id": block.identity.hex(),
        "durability": "power" if block.durability == POWER else "process",
        "file_bytes": len(arena.image),
        "heap_offset": heap.at,
        "heap_bytes": 4096 * (heap.end - heap.first),
        "free_bytes": 4096 * sum(extent.pages for extent in extents),
        "extents": len(extents),
        "blocks": len(lengths),
        "block_bytes": sum(lengths),
        "unfinished": arena.unfinished,
    }


def field(name: str, content: bytes) -> Line:
    """As text, or what is not UTF-8 in base64, as `heapfile kv export` does."""
    try:
        return {name: str(content, "utf-8")}
    except UnicodeDecodeError:
        return {name + "64": base64.b64encode(content).decode("ascii")}


def of_all(arena: Arena, heap: Heap, what: str) -> Iterator[Line]:
    if what == "info":
        yield from info(arena, heap)
    elif what == "blocks":
        for block in heap.blocks():
            yield {"offset": block.offset, "len_bytes": block.length}
    elif what == "roots":
        for root in heap.roots():
            yield {"name": root.name, "offset": root.offset, "len_bytes": root.length, "type": root.type,
                   "type_size_bytes": root.size, "type_align_bytes": root.align}
    elif what == "entries":
        for table, key, value in entries(heap):
            yield {"table": table, **field("key", key), **field("value", value)}
    else:
        for each in ["info", "blocks", "roots", "entries"]:
            for line in of_all(arena, heap, each):
                yield {each: line}


def lines(arena: Arena, args: argparse.Namespace) -> Iterator[Line]:
    heap = Heap(arena)
    if args.what != "collection":
        yield from of_all(arena, heap, args.what)
    else:
        offset = heap.root(args.root).offset
        handle = heap.block(offset)
        need(len(handle) == 8, offset, "the root leads to no handle of a collection")
        for item in collection(heap, int.from_bytes(handle, "little"), args.align):
            yield {"value": item.hex()} if isinstance(item, bytes) else {"key": item[0].hex(), "value": item[1].hex()}


def main() -> int:
    parser = argparse.ArgumentParser(description="Shows what an arena holds, as lines of JSON.")
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("what", nargs="?", default="info", choices=["info", "blocks", "roots", "entries", "all", "collection"],
                        help="all: the four before it, each line under the name of its kind")
    parser.add_argument("root", nargs="?", help="collection: the root that leads to its handle", default="")
    parser.add_argument("--align", type=int, default=1, help="collection: of the type of a hash map's values, if of any length")
    args = parser.parse_args()
    try:
        with Arena(args.file) as arena:
            for line in lines(arena, args):
                print(json.dumps(line, ensure_ascii=False))
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except (ArenaError, OSError, MemoryError) as error:
        print(f"heapfile_reader: {args.file}: {error or 'out of memory'}", file=sys.stderr)
        return 2
    except KeyError as error:
        print(f"heapfile_reader: {args.file}: there is no root {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
