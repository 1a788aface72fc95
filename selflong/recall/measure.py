"""How many answers a model recalls, by length: rows that are scored like any other prediction."""

from pathlib import Path

import numpy as np
import polars as pl
import torch
from transformers import AutoModelForCausalLM

from selflong.formats import PREDICTIONS, table
from selflong.recall.language import Language

SUITE = "recall"
TASK = "needles"
_TOKENS_AT_ONCE = 16_384


def recall_predictions(
    model: Path, name: str, language: Language, length: int, sequences: int, seed: int
) -> pl.DataFrame:
    """formats.PREDICTIONS of a model folder, one row a sequence; the score is the share of right answers.

    Every model is asked the same sequences of a length. A value is right when it is the likeliest token
    after its key, given the sequence with the right answers before it. Prompts are token ids.
    """
    rng = np.random.default_rng([seed, length, 1])
    tokens = torch.from_numpy(language.sequences(length, sequences, rng).astype(np.int64))
    positions = torch.from_numpy(language.answer_positions(length))
    llama = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    guesses = []
    with torch.inference_mode():
        for batch in tokens.split(max(1, _TOKENS_AT_ONCE // length)):
            hidden = llama.model(batch, use_cache=False).last_hidden_state
            guesses.append(llama.lm_head(hidden[:, positions - 1]).argmax(-1))
    guessed, answers = torch.cat(guesses), tokens[:, positions]
    rows = [
        {
            "suite": SUITE,
            "model": name,
            "task": TASK,
            "length": length,
            "index": index,
            "prompt": _text(tokens[index]),
            "prompt_tokens": length,
            "answers": [str(int(answer)) for answer in answers[index]],
            "prediction": _text(guessed[index]),
            "completion_tokens": language.queries,
            "score": float((guessed[index] == answers[index]).float().mean()),
            "request_key": f"{seed}-{length}-{index}",
        }
        for index in range(sequences)
    ]
    return table(rows, PREDICTIONS)


def _text(ids: torch.Tensor) -> str:
    return " ".join(str(int(i)) for i in ids)
