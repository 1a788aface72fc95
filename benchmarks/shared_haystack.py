"""How far scores over shared haystacks agree with RULER's, of the laptop's model.

    python benchmarks/shared_haystack.py [--lengths 1024,2048] [--samples 20] [--haystacks 4] [--questions 10]

Asks SmolLM2-135M-Instruct needle tasks of ruler_exact and the suite of shared haystacks, in bfloat16. Prints
one line of JSON: both scores of each task and length in per cent; Spearman's rank correlation over them and
the mean of shared minus RULER; the share of its prompts that the plan counts as read; and how many times
larger the variance of the shared means is than that of independent questions.
"""

import argparse
import json
import tempfile
from pathlib import Path

import polars as pl
from scipy.stats import spearmanr

from benchmarks.on_cpu import SMOLLM2, expect_no_gpu
from selflong.evaluation.evaluate import evaluate
from selflong.formats import PREDICTIONS, read_parquet
from selflong.recipe.site import TransformersServing
from selflong.suites.evaluation_job import Job
from selflong.suites.ruler.section import RulerSuite
from selflong.suites.section import SuiteSection
from selflong.suites.shared_haystack.load import loads
from selflong.suites.shared_haystack.section import SharedHaystack
from selflong.training.weights import load_weights

TASKS = ["niah_single_2", "niah_single_3", "niah_multikey_1", "niah_multikey_2", "niah_multiquery"]


def predictions(
    name: str, suite: SuiteSection, model: Path, work: Path, threads: int
) -> pl.DataFrame:
    """Of the model, in bfloat16."""
    serving = TransformersServing(kind="transformers", threads=threads, precision="bfloat16")
    job = Job(
        suite_name=name, suite=suite, checkpoint="m/initial", model=model, tokenizer=model,
        serving=serving, work=work / name, chat_date="26 Jul 2024",
    )  # fmt: skip
    evaluate(job, work / f"{name}.parquet")
    return read_parquet(work / f"{name}.parquet", PREDICTIONS)


def design_effect(shared: pl.DataFrame, questions: int) -> float:
    """Variance of the means by haystack, over what independent questions would give; 1 where they are."""
    of_haystack = pl.col("index") // questions
    cell = ["task", "length"]
    within = shared.group_by(cell).agg(pl.col("score").var(ddof=1).alias("question"))
    means = shared.group_by(*cell, of_haystack).agg(pl.col("score").mean())
    between = means.group_by(cell).agg(pl.col("score").var(ddof=1).alias("haystack"))
    both = within.join(between, on=cell)
    return questions * float(both["haystack"].sum()) / float(both["question"].sum())


def main() -> None:
    expect_no_gpu()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", default="1024,2048")
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--haystacks", type=int, default=4)
    parser.add_argument("--questions", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    lengths = [int(length) for length in arguments.lengths.split(",")]
    samples = {length: arguments.samples for length in lengths}
    ruler = RulerSuite(
        kind="ruler", models=["m"], convention="ruler_exact", tasks=TASKS, lengths=lengths,
        samples=samples, seed=42,
    )  # fmt: skip
    shared = SharedHaystack(
        kind="shared_haystack", models=["m"], tasks=TASKS, lengths=lengths, seed=42,
        haystacks=arguments.haystacks, questions=arguments.questions,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        model = work / "model"
        load_weights(weights=SMOLLM2, output=model, seed=1)
        found = {
            name: predictions(name, suite, model, work, arguments.threads)
            for name, suite in (("ruler", ruler), ("shared", shared))
        }
    cell = ["task", "length"]
    means = {
        name: frame.group_by(cell).agg(pl.col("score").mean()) for name, frame in found.items()
    }
    both = means["ruler"].join(means["shared"], on=cell, suffix="_shared").sort(cell)
    ours, theirs = both["score_shared"].to_numpy(), both["score"].to_numpy()
    read = sum(load.read_tokens for load in loads(shared, None))
    sent = sum(load.prompt_tokens for load in loads(shared, None))
    print(
        json.dumps(
            {
                "scores": [
                    (task, length, round(100 * one, 1), round(100 * other, 1))
                    for task, length, one, other in both.rows()
                ],
                "questions_a_cell": [arguments.samples, arguments.haystacks * arguments.questions],
                "spearman": round(float(spearmanr(theirs, ours).statistic), 3),
                "mean_difference": round(100 * float((ours - theirs).mean()), 1),
                "planned_read_share": round(read / sent, 3),
                "design_effect": round(design_effect(found["shared"], arguments.questions), 2),
            }
        )
    )


if __name__ == "__main__":
    main()
