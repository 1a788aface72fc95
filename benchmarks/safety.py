"""How broken recipes and sites are answered: `python benchmarks/safety.py --mutations 5000`.

What is accepted is planned as `snakemake plan` does it. Prints one line of JSON: mutations, sentences,
stacks, accepted_wrong, and seconds_of_checks, what reading and checking the paper's recipe takes.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from selflong.recipe.loading import load_recipe  # noqa: E402
from selflong.recipe.reader import read_yaml  # noqa: E402
from tests.recipe.mutations import (  # noqa: E402
    Verdict,
    draw,
    plan_on_site,
    plan_recipe,
    verdict,
)

FILES = {
    ROOT / "recipes" / "laptop.yaml": plan_recipe,
    ROOT / "recipes" / "recall.yaml": plan_recipe,
    ROOT / "recipes" / "selflong.yaml": plan_recipe,
    ROOT / "recipes" / "one_gpu.yaml": plan_recipe,
    ROOT / "recipes" / "prolong.yaml": plan_recipe,
    ROOT / "config.yaml": plan_on_site,
}


def _with_few_samples(content: dict[str, Any]) -> dict[str, Any]:
    """A plan draws each long input, which for the paper's recipe takes all of its time and tells nothing."""
    if "long_input" in content.get("synthesis", {}):
        content["synthesis"]["long_input"] |= {"samples": 100, "shards": 2}
    return content


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    contents = {path: _with_few_samples(read_yaml(path)) for path in FILES}
    counts: Counter[Verdict] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.mutations):
            path = rng.choice(list(FILES))
            mutation = draw(contents[path], rng)
            found, said = verdict(mutation, contents[path], FILES[path], Path(folder) / path.name)
            counts[found] += 1
            if found in (Verdict.STACK, Verdict.ACCEPTED_WRONG):
                print(path.name, mutation, said, file=sys.stderr)
    start = time.perf_counter()
    load_recipe(ROOT / "recipes" / "selflong.yaml")
    figures = {
        "mutations": arguments.mutations,
        "sentences": counts[Verdict.SENTENCE],
        "stacks": counts[Verdict.STACK],
        "accepted_wrong": counts[Verdict.ACCEPTED_WRONG],
        "seconds_of_checks": round(time.perf_counter() - start, 2),
    }
    print(json.dumps(figures))
    sys.exit(1 if counts[Verdict.STACK] + counts[Verdict.ACCEPTED_WRONG] else 0)


if __name__ == "__main__":
    main()
