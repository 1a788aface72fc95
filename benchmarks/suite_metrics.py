"""Metrics of suites beside their authors' code on made answers, of which about half are right.

    python benchmarks/suite_metrics.py [--mrcr FILE] [--graphwalks FILE] [--longbench FILE] [--answers 200]

Each FILE is Python of a checkout, or a dataset card with Python in it; nothing of it is kept, and of the
file only its functions run, without what it imports. Prints one line of JSON: for each suite the answers,
those that both score alike, and the others with both scores.

- mrcr: the card of openai/mrcr (`grade`), or openbench's scorers/mrcr.py (`_sequence_ratio`).
- graphwalks: the card of openai/graphwalks (its lines that grade, given the nodes as they are read here), or
  lm_eval/tasks/graphwalks/utils.py of lm-evaluation-harness (`process_results`). No node wanted and none
  named is right here and on the card, not in the harness; a list without any right node is right on the card
  alone.
- longbench: pred.py of THUDM/LongBench (`extract_answer`).
"""

import __future__

import argparse
import ast
import json
import random
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from selflong.suites.graphwalks import metric as graphwalks
from selflong.suites.longbench_v2 import metric as longbench
from selflong.suites.mrcr import metric as mrcr

Made = tuple[str, tuple[str, ...]]
"""An answer, and what is right."""
WORDS = ("rain", "on", "the", "hills", "*", "(B)", "Final Answer:", "[", "]", ",", "\n", "[a]", "x")


GRADING = "grading"
"""Name under which the space of a card holds its lines outside of functions."""


def functions(path: Path) -> dict[str, Any]:
    """Every function of a file, run without the rest of it, which is kept as code where it is a card."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        text = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    tree = ast.parse(text)
    others = [node for node in tree.body if not isinstance(node, ast.FunctionDef)]
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    for node in tree.body:
        assert isinstance(node, ast.FunctionDef)
        node.decorator_list = []
    space: dict[str, Any] = {"re": re, "SequenceMatcher": SequenceMatcher}
    # Annotations name types of imports that are left out.
    flags = __future__.annotations.compiler_flag
    exec(compile(tree, str(path), "exec", flags), space)
    if path.suffix == ".md":
        space[GRADING] = compile(ast.Module(others, []), str(path), "exec", flags)
    return space


def noise(rng: random.Random, most: int = 6) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randrange(most)))


def made_for_mrcr(rng: random.Random) -> Made:
    marker, wanted = f"m{rng.randrange(10**6)}", noise(rng, 80)
    said = wanted if rng.random() < 0.5 else noise(rng, 80)
    before = rng.choice(["", "", "", " ", "Here: "])
    return f"{before}{marker}{said}", (f"{marker}{wanted}", marker)


def made_for_graphwalks(rng: random.Random) -> Made:
    nodes = [f"{rng.randrange(16**6):06x}" for _ in range(rng.randrange(8))]
    named = [node for node in nodes if rng.random() < 0.7] + nodes[:1] * rng.randrange(2)
    written = rng.choice([", ", ","]).join(rng.choice([node, f"'{node}'"]) for node in named)
    opening = rng.choice(["Final Answer: [", "Final Answer:[", "Answer: ["])
    return f"{noise(rng)}\n{opening}{written}]{rng.choice(['', '', chr(10), '. So.'])}", tuple(
        nodes
    )


def made_for_longbench(rng: random.Random) -> Made:
    letter = rng.choice("ABCDE")
    named = rng.choice([f"({letter})", letter, f"**({letter})**", f"**{letter}**", f"[{letter}]"])
    text = (
        f"{noise(rng)} {rng.choice(['The', 'The', 'the'])} correct answer is {named} {noise(rng)}"
    )
    return text, (rng.choice("ABCD"),)


def judge_of_mrcr(space: dict[str, Any], answer: str, right: Sequence[str]) -> float:
    judge = space.get("grade") or space["_sequence_ratio"]
    return float(judge(answer, *right))


def judge_of_graphwalks(space: dict[str, Any], answer: str, right: Sequence[str]) -> float:
    if GRADING not in space:
        return float(space["process_results"]({"answer_nodes": list(right)}, [answer])["f1"])
    named = graphwalks.nodes(answer)
    if named is None:
        return 0.0
    sampled, truth = set(named), set(right)
    graded: dict[str, Any] = {
        "sampled_set": sampled, "truth_set": truth, "n_sampled": len(sampled), "n_golden": len(truth),
    }  # fmt: skip
    exec(space[GRADING], graded)
    return float(graded["f1"])


def judge_of_longbench(space: dict[str, Any], answer: str, right: Sequence[str]) -> float:
    return float(space["extract_answer"](answer) == right[0])


JUDGES: dict[str, tuple[Callable[..., Made], Callable[..., float], Callable[..., float]]] = {
    "mrcr": (made_for_mrcr, mrcr.score, judge_of_mrcr),
    "graphwalks": (made_for_graphwalks, graphwalks.score, judge_of_graphwalks),
    "longbench": (made_for_longbench, longbench.score, judge_of_longbench),
}


def differences(suite: str, path: Path, answers: int) -> Iterator[tuple[Made, float, float]]:
    """Made answers that the two score differently, with both scores."""
    make, score, judge = JUDGES[suite]
    space, rng = functions(path), random.Random(f"1 {suite}")
    for _ in range(answers):
        answer, right = make(rng)
        here, there = score(answer, right), judge(space, answer, right)
        if abs(here - there) > 1e-12:
            yield (answer, right), here, there


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=200)
    for suite in JUDGES:
        parser.add_argument(f"--{suite}", type=Path)
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    for suite in JUDGES:
        path = getattr(arguments, suite)
        if path is not None:
            differing = list(differences(suite, path, arguments.answers))
            found[suite] = {
                "answers": arguments.answers,
                "alike": arguments.answers - len(differing),
                "differing": differing,
            }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
