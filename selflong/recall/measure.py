"""How many answers a model recalls, by length: predictions that are scored like any other."""

from pathlib import Path

import numpy as np
import polars as pl
import torch
from transformers import AutoModelForCausalLM

from selflong.formats import PREDICTIONS, table, write_parquet
from selflong.recall.language import answer_positions, random_sequences
from selflong.recipe import RecallLanguage, RecallSuite
from selflong.scores import share_in_place

TASK = "needles"
_TOKENS_AT_ONCE = 16_384


def write_predictions(
    name: str,
    suite: RecallSuite,
    language: RecallLanguage,
    checkpoint: str,
    model: Path,
    output: Path,
) -> None:
    """Publish formats.PREDICTIONS of a model folder at every length of the suite."""
    llama = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    frames = [predictions(name, suite, language, checkpoint, llama, n) for n in suite.lengths]
    write_parquet(pl.concat(frames), output, PREDICTIONS)


def predictions(
    name: str,
    suite: RecallSuite,
    language: RecallLanguage,
    checkpoint: str,
    llama: torch.nn.Module,
    length: int,
) -> pl.DataFrame:
    """formats.PREDICTIONS at one length, one row a sequence; the score is the share of right answers.

    Every model is asked the same sequences of a length. A value is right when it is the likeliest token
    after its key, given the sequence with the right answers before it. Prompts are token ids.
    """
    rng = np.random.default_rng([suite.seed, length, 1])
    drawn = random_sequences(language, length, suite.sequences, rng)
    tokens = torch.from_numpy(drawn.astype(np.int64))
    positions = torch.from_numpy(answer_positions(language, length))
    guesses = []
    with torch.inference_mode():
        for batch in tokens.split(max(1, _TOKENS_AT_ONCE // length)):
            hidden = llama.get_submodule("model")(batch, use_cache=False).last_hidden_state
            logits = llama.get_submodule("lm_head")(hidden[:, positions - 1])
            guesses.append(logits.argmax(-1))
    guessed, answers = torch.cat(guesses), tokens[:, positions]
    rows = []
    for index in range(suite.sequences):
        prediction = _text(guessed[index])
        wanted = [str(int(answer)) for answer in answers[index]]
        rows.append(
            {
                "suite": name,
                "model": checkpoint,
                "task": TASK,
                "length": length,
                "index": index,
                "prompt": _text(tokens[index]),
                "prompt_tokens": length,
                "answers": wanted,
                "prediction": prediction,
                "completion_tokens": language.queries,
                "score": share_in_place(prediction, wanted),
                "precision": "float32",
                "request_key": f"{suite.seed}-{length}-{index}",
            }
        )
    return table(rows, PREDICTIONS)


def _text(ids: torch.Tensor) -> str:
    return " ".join(str(int(i)) for i in ids)
