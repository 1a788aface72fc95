"""Names of the samples, and random numbers that depend on the recipe's seed and on names alone."""

import hashlib
from random import Random


def seed_of(*names: object) -> int:
    """A seed below 2**31; the first name is the recipe's seed, the others say what it is for."""
    joined = "/".join(map(str, names))
    return int.from_bytes(hashlib.sha256(joined.encode()).digest()[:4]) >> 1


def random_of(*names: object) -> Random:
    """Random numbers from `seed_of(*names)`."""
    return Random(seed_of(*names))


def sample_ids(generator: str, kind: str, samples: int, shards: int, shard: int) -> list[str]:
    """Names of the samples of one shard; no other shard or generator has the same."""
    indices = range(shard * samples // shards, (shard + 1) * samples // shards)
    return [f"{generator}:{kind}:{index:06}" for index in indices]
