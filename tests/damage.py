"""Damage of bytes, drawn by chance."""

import random

TOKENS = [
    *(b"-1", b"null", b"{", b"[", b"]", b'"', b"\x00", b"\xff\xfe", b"1e999", b"NaN", b"9" * 5000),
    *(b"../", b"\n", b"\xed\xa0\xbd", b"[" * 3000, b'{"a":1}', b"\\ud83d", b"\xff\xff\xff\xff"),
]


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, taken out, put in or doubled; or the end cut off."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8])):
        place = rng.randrange(len(changed)) if changed else 0
        kind = rng.randrange(5)
        if kind == 0 and changed:
            changed[place] = rng.randrange(256)
        elif kind == 1:
            del changed[place : place + rng.randrange(1, 20)]
        elif kind == 2:
            changed[place:place] = rng.choice(TOKENS)
        elif kind == 3:
            changed[place:place] = changed[place : place + 30]
        else:
            del changed[place:]
    return bytes(changed)
