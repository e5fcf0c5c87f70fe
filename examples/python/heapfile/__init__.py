"""Reads heapfile arenas, by docs/FORMAT.md. Standard library only.

    from heapfile import Arena, Heap, entries
    with Arena("app.heap") as arena:
        for table, key, value in entries(Heap(arena)):
            ...

The file is opened for reading, and has to be closed: nobody may have it open for writing. What a killed process left in the log is
applied to a private copy in memory; the file stays as it is.
"""

from .arena import Arena
from .heap import Heap
from .image import ArenaError, Damaged, InUse, NotAnArena, Unsynced
from .store import entries, tables

__all__ = ["Arena", "ArenaError", "Damaged", "Heap", "InUse", "NotAnArena", "Unsynced", "entries", "tables"]
