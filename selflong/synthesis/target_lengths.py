"""The distribution that a sample's total length is drawn from."""

import math
from functools import cache
from random import Random
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from selflong.recipe.synthesis import Lengths

_NORMAL = NormalDist()
_BISECTIONS = 100


def draw_length(lengths: Lengths, random: Random) -> int:
    """Tokens of one sample, between the distribution's minimum and maximum."""
    share = random.random()
    low, high = float(lengths.minimum), float(lengths.maximum)
    if lengths.distribution == "uniform":
        length = low + share * (high - low)
    elif lengths.distribution == "log_uniform":
        length = low * (high / low) ** share
    else:
        length = _log_normal_quantile(lengths, share)
    return min(lengths.maximum, max(lengths.minimum, round(length)))


def _bounds(lengths: Lengths, location: float) -> tuple[float, float]:
    assert lengths.sigma is not None
    low = (math.log(lengths.minimum) - location) / lengths.sigma
    high = (math.log(lengths.maximum) - location) / lengths.sigma
    return low, high


def _log_normal_quantile(lengths: Lengths, share: float) -> float:
    location = _location(lengths.minimum, lengths.maximum, lengths.mean or 0, lengths.sigma or 0.0)
    low, high = (_NORMAL.cdf(bound) for bound in _bounds(lengths, location))
    inner = min(max(low + share * (high - low), 1e-12), 1 - 1e-12)
    assert lengths.sigma is not None
    return math.exp(location + lengths.sigma * _NORMAL.inv_cdf(inner))


@cache
def _location(minimum: int, maximum: int, mean: int, sigma: float) -> float:
    """Mean of the logarithm for which the distribution, cut to its bounds, has the given mean."""
    low, high = math.log(minimum) - 10 * sigma, math.log(maximum) + 10 * sigma
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _truncated_mean(minimum, maximum, middle, sigma) < mean:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _truncated_mean(minimum: int, maximum: int, location: float, sigma: float) -> float:
    low, high = ((math.log(bound) - location) / sigma for bound in (minimum, maximum))
    mass = _NORMAL.cdf(high) - _NORMAL.cdf(low)
    if mass < 1e-12:
        return float(minimum if low > 0 else maximum)
    shifted = _NORMAL.cdf(high - sigma) - _NORMAL.cdf(low - sigma)
    return math.exp(location + sigma**2 / 2) * shifted / mass


def sample_lengths(lengths: Lengths, count: int = 20_000) -> NDArray[np.float64]:
    """Lengths drawn from a distribution, the same at each call."""
    return _drawn(lengths.model_dump_json(), count)


@cache
def _drawn(lengths_json: str, count: int) -> NDArray[np.float64]:
    lengths = Lengths.model_validate_json(lengths_json)
    random = Random(0)
    return np.array([draw_length(lengths, random) for _ in range(count)], dtype=np.float64)
