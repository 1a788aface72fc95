"""How many answers a model recalls, by length.

No server is asked: the model's guesses at all answers of a sequence come from one pass over it.
"""

from pathlib import Path

import numpy as np
import polars as pl
import torch
from transformers import AutoModelForCausalLM

from selflong.formats import PREDICTIONS, table
from selflong.recall import answer_positions, random_sequences
from selflong.suites.evaluation_job import Job
from selflong.suites.recall.metric import share_in_place
from selflong.suites.recall.section import RecallSuite

TASK = "needles"
_TOKENS_AT_ONCE = 16_384


def run(suite: RecallSuite, job: Job, work: Path) -> pl.DataFrame:
    """formats.PREDICTIONS of the job's checkpoint at every length of the suite."""
    # Sums over threads would depend on their number, and so could a guess between two near values.
    torch.set_num_threads(1)
    llama = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32).eval()
    return pl.concat(
        predictions(job.suite_name, suite, job.checkpoint, llama, length)
        for length in suite.lengths
    )


def predictions(
    name: str, suite: RecallSuite, checkpoint: str, llama: torch.nn.Module, length: int
) -> pl.DataFrame:
    """formats.PREDICTIONS at one length, one row a sequence; the score is the share of right answers.

    Every model is asked the same sequences of a length. A value is right when it is the likeliest token
    after its key, given the sequence with the right answers before it. Prompts are token ids.
    """
    rng = np.random.default_rng([suite.seed, length, 1])
    drawn = random_sequences(suite.language, length, suite.sequences, rng)
    tokens = torch.from_numpy(drawn.astype(np.int64))
    positions = torch.from_numpy(answer_positions(suite.language, length))
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
                "completion_tokens": suite.language.queries,
                "score": share_in_place(prediction, wanted),
                "precision": "float32",
                "request_key": f"{suite.seed}-{length}-{index}",
            }
        )
    return table(rows, PREDICTIONS)


def _text(ids: torch.Tensor) -> str:
    return " ".join(str(int(i)) for i in ids)
