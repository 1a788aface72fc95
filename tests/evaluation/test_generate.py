"""What a prompt must be before it is sent."""

import pytest

from selflong.evaluation.generate import check_bos
from selflong.job import UserError
from selflong.suites.prompt import Prompt


def prompt_of(*ids: int) -> Prompt:
    return Prompt("t", 100, 0, ids, "", ("x",), 4)


def test_exactly_one_bos_is_wanted() -> None:
    check_bos(prompt_of(1, 5, 1, 6), bos_id=1)  # ChatML's BOS opens every message
    check_bos(prompt_of(5, 6), bos_id=None)
    for ids, count in (((1, 1, 5), 2), ((1, 1, 1, 5), 3), ((5, 1), 0)):
        with pytest.raises(UserError, match=f"begins with {count} BOS"):
            check_bos(prompt_of(*ids), bos_id=1)
