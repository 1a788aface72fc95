"""Sequences of the recall study go through the mixture as they were drawn."""

from pathlib import Path

import numpy as np
import pytest

from selflong.formats import ACCOUNTING, SEQUENCES, PackedFiles, TokenRole, read_parquet
from selflong.job import UserError
from selflong.mixture.build import build_mixture
from selflong.recall import RecallLanguage, answer_positions, random_sequences
from selflong.recipe.loading import parse
from selflong.recipe.reader import read_yaml
from selflong.recipe.recipe import Recipe

ROOT = Path(__file__).parents[3]

LANGUAGE = {"keys": 8, "values": 6, "needles": 4, "queries": 2, "fillers": 5}


def recipe_of(sequences: int, longer_than_stage: str = "refuse") -> Recipe:
    """One stage of 70 tokens over sequences of 20."""
    content = read_yaml(ROOT / "recipes" / "recall.yaml")
    mixture = content["mixtures"]["d64"]
    mixture["longer_than_stage"] = longer_than_stage
    mixture["entries"]["needles"]["source"] |= {
        "language": LANGUAGE, "length": 20, "sequences": sequences, "seed": 1,
    }  # fmt: skip
    content["models"]["base_1"]["stages"][0] |= {
        "length": 70, "global_batch_tokens": 70, "tokens": 70,
    }  # fmt: skip
    return parse(Recipe, content, "recall.yaml")


def build(recipe: Recipe, folder: Path) -> None:
    build_mixture(
        recipe=recipe, mixture_name="d64", stage_name="64", tokenizer=None,
        output=folder / "packed", accounting=folder / "accounting.parquet",
        contamination=folder / "contamination.parquet", work=folder / "work",
    )  # fmt: skip


def test_packed_sequences_hold_whole_ones_with_their_answers(tmp_path: Path) -> None:
    build(recipe_of(13), tmp_path)
    language = RecallLanguage(**LANGUAGE)
    drawn = random_sequences(language, 20, 13, np.random.default_rng([1, 20]))
    packed = tmp_path / "packed"
    rows = read_parquet(packed / PackedFiles.SEQUENCES, SEQUENCES)
    assert rows["tokens"].to_list() == [60] * 4 + [20]
    assert rows["document_bounds"][0].to_list() == [0, 20, 40, 60]
    assert set(rows["kinds"].explode()) == {"short"}
    ids, roles = np.load(packed / PackedFiles.INPUT_IDS), np.load(packed / PackedFiles.ROLES)
    assert (ids == drawn.ravel()).all()
    assert set(roles.tolist()) == {TokenRole.PROMPT, TokenRole.RESPONSE}
    answers = drawn[:, answer_positions(language, 20)].ravel()
    assert (ids[roles == TokenRole.RESPONSE] == answers).all()
    assert not (packed / PackedFiles.VOCABULARY).exists()
    account = read_parquet(tmp_path / "accounting.parquet", ACCOUNTING).row(0, named=True)
    assert (account["tokens"], account["loss_tokens"]) == (260, len(answers))


def test_a_sequence_that_fits_no_stage_is_refused(tmp_path: Path) -> None:
    content = recipe_of(13).model_dump(mode="json")
    content["mixtures"]["d64"]["entries"]["needles"]["source"]["length"] = 71
    with pytest.raises(UserError, match="13 samples are longer than their stages hold"):
        build(parse(Recipe, content, "recall.yaml"), tmp_path)
