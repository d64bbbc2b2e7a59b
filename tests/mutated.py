"""Parquet files that somebody has tampered with: bytes of pages and of footers changed, seeded."""

import random


def mutated(data: bytes, seed: int) -> bytes:
    """Change one to four bytes of a parquet file, most of them in its footer."""
    noise, changed = random.Random(seed), bytearray(data)
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for _ in range(noise.choice([1, 1, 2, 4])):
        where = (footer, len(data) - 8) if noise.random() < 0.7 else (4, footer)
        at = noise.randrange(*where)
        bit = changed[at] ^ (1 << noise.randrange(8))
        changed[at] = noise.choice([noise.randrange(256), 0, 127, 128, 255, bit])
    return bytes(changed)
