from math import log
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selflong.recipe.synthesis import Lengths
from selflong.synthesis.target_lengths import draw_length

LOG_NORMAL = {"minimum": 4096, "maximum": 1_048_576, "mean": 66_700, "sigma": 1.0}


@pytest.mark.parametrize(
    ("lengths", "mean"),
    [
        (Lengths(distribution="uniform", minimum=900, maximum=4000), 2450),
        (Lengths(distribution="log_uniform", minimum=900, maximum=4000), 3100 / log(4000 / 900)),
        (Lengths(distribution="log_normal", **LOG_NORMAL), 66_700),
    ],
    ids=lambda value: getattr(value, "distribution", ""),
)
def test_drawn_lengths_have_the_stated_mean(lengths: Lengths, mean: float) -> None:
    random = Random(3)
    drawn = [draw_length(lengths, random) for _ in range(40_000)]
    assert fmean(drawn) == pytest.approx(mean, rel=0.03)
    assert min(drawn) >= lengths.minimum
    assert max(drawn) <= lengths.maximum


@given(
    minimum=st.integers(1, 5000),
    width=st.integers(0, 10**6),
    share=st.floats(0.05, 0.95),
    sigma=st.floats(0.1, 3),
    seed=st.integers(),
)
def test_a_log_normal_length_stays_within_its_bounds(
    minimum: int, width: int, share: float, sigma: float, seed: int
) -> None:
    maximum = minimum + width
    mean = max(1, round(minimum + share * width))
    lengths = Lengths(
        distribution="log_normal", minimum=minimum, maximum=maximum, mean=mean, sigma=sigma
    )
    assert minimum <= draw_length(lengths, Random(seed)) <= maximum
