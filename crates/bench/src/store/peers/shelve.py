"""Python's shelve as a cell of the bench: reads commands, answers each with one line of JSON."""

import dbm
import json
import os
import random
import shelve
import sys
import time

MASK = (1 << 64) - 1


def say(**what):
    print(json.dumps(what), flush=True)


def splitmix(state):
    state = (state + 0x9E3779B97F4A7C15) & MASK
    z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def key(n):
    return "%016x" % splitmix(((n + 1) * 0x9E3779B97F4A7C15) & MASK)


def main():
    directory, entries = sys.argv[1], int(sys.argv[2])
    db = shelve.open(os.path.join(directory, "store"))
    say(ready=True, version="Python %s, %s" % (sys.version.split()[0], type(db.dict).__module__))
    rng = random.Random(1)
    for line in sys.stdin:
        command, *rest = line.split()
        if command == "load":
            start = time.perf_counter()
            for n in range(entries):
                db[key(n)] = b"x" * 100
            db.sync()
            seconds = time.perf_counter() - start
            size = sum(e.stat().st_size for e in os.scandir(directory))
            say(values={"load": seconds * 1e9 / entries, "bytes": size / entries})
        elif command in ("get", "replace"):
            end, done = time.perf_counter() + int(rest[0]) / 1000, 0
            start = time.perf_counter()
            while time.perf_counter() < end:
                for _ in range(100):
                    k = key(rng.randrange(entries))
                    if command == "get":
                        assert len(db[k]) == 100
                    else:
                        db[k] = b"y" * 100
                done += 100
            say(values={command: (time.perf_counter() - start) * 1e9 / done})
        elif command == "finish":
            db.close()
            return
        else:
            say(error="shelve has no " + command)


main()
