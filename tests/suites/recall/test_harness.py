"""The measure of recall counts right answers."""

from pathlib import Path

import numpy as np
import polars as pl
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from selflong.formats import PREDICTIONS
from selflong.recall import RecallLanguage
from selflong.suites.recall.harness import run
from selflong.suites.recall.section import RecallSuite
from tests.suites.jobs import job_of

LANGUAGE = RecallLanguage(keys=8, values=6, needles=4, queries=2, fillers=5)


def test_the_measure_asks_all_models_the_same_and_counts_right_answers(tmp_path: Path) -> None:
    config = LlamaConfig(
        vocab_size=LANGUAGE.vocabulary, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    suite = RecallSuite(
        kind="recall", models=["m"], language=LANGUAGE, lengths=[16, 24], sequences=50, seed=9
    )
    frames = []
    for seed in range(2):
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(tmp_path / str(seed))
        job = job_of("recall", suite, tmp_path / str(seed), tmp_path)
        frames.append(run(suite, job, tmp_path))
        assert dict(frames[-1].schema) == PREDICTIONS
    first, second = frames
    assert first["prompt"].to_list() == second["prompt"].to_list()
    assert first["length"].value_counts(sort=True)["count"].to_list() == [50, 50]
    assert first["score"].mean() < 0.3  # it knows nothing
    recomputed = [
        np.mean([a == p for a, p in zip(row["answers"], row["prediction"].split(), strict=True)])
        for row in pl.concat(frames).iter_rows(named=True)
    ]
    np.testing.assert_allclose(recomputed, pl.concat(frames)["score"].to_numpy())
