"""Recipes and sites with one thing wrong, and whether they are answered rightly."""

import copy
import math
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from selflong.estimate.schedule import schedule
from selflong.estimate.steps import Planner
from selflong.job import UserError
from selflong.placement.machines import choose_machine
from selflong.recipe.loading import MOST_SAID, load_recipe, load_site
from selflong.recipe.recipe import Recipe, stages_of_mixture
from selflong.recipe.site import Site
from selflong.run.readiness import lacking, uses_of_recipe
from selflong.run.run import checked_run

ROOT = Path(__file__).parents[2]

MAY_BE_NEGATIVE = ("minimum_score",)
"""Settings of which -1 is a value like any other."""


OUT_OF_RANGE = (-1, math.nan, math.inf, -math.inf, 10**9, 10**15, 1e300, 5e-324)
"""Of these the last ones may be accepted, if the plan then ends."""
SECONDS = 60
"""For an answer, as a person waits for it."""


class Verdict(Enum):
    """What came of a mutation."""

    SENTENCE = "sentence"
    ACCEPTED = "accepted"
    ACCEPTED_WRONG = "accepted wrongly"
    STACK = "stack"


@dataclass(frozen=True)
class Mutation:
    """A change at a place of a file."""

    place: tuple[str | int, ...]
    kind: str
    value: Any = None

    def apply(self, content: Any) -> Any:
        changed = copy.deepcopy(content)
        target = changed
        for step in self.place[:-1]:
            target = target[step]
        last = self.place[-1]
        if self.kind == "delete":
            del target[last]
        elif self.kind == "rename":
            target[f"{last}x"] = target.pop(last)
        elif self.kind == "duplicate":
            target.insert(last, copy.deepcopy(target[last]))
        else:
            target[last] = self.value
        return changed

    @property
    def must_be_refused(self) -> bool:
        """Of what no setting can mean."""
        if not isinstance(self.value, float | int) or isinstance(self.value, bool):
            return False
        negative = self.value < 0 and self.place[-1] not in MAY_BE_NEGATIVE
        return negative or not math.isfinite(self.value)


def places(content: Any, here: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every key and item of a file."""
    steps = content.items() if isinstance(content, dict) else enumerate(content)
    for step, value in steps:
        yield (*here, step)
        if isinstance(value, dict | list):
            yield from places(value, (*here, step))


def value_at(content: Any, place: tuple[str | int, ...]) -> Any:
    for step in place:
        content = content[step]
    return content


def draw(content: Any, rng: random.Random) -> Mutation:
    """One mutation of a file, drawn by chance."""
    place = rng.choice(list(places(content)))
    value = value_at(content, place)
    kinds = ["delete", "retype"]
    kinds += ["duplicate"] if isinstance(value_at(content, place[:-1]), list) else ["rename"]
    if isinstance(value, int | float) and not isinstance(value, bool):
        kinds += ["out of range"] * 2
    kind = rng.choice(kinds)
    if kind == "retype":
        others = [None, True, "nowhere", "", 7, 0.5, [], [1], {}, {"a": 1}, [None]]
        return Mutation(place, kind, rng.choice([o for o in others if type(o) is not type(value)]))
    if kind == "out of range":
        return Mutation(place, kind, rng.choice(OUT_OF_RANGE))
    return Mutation(place, kind)


def _no_answer(_number: int, _frame: object) -> None:
    raise TimeoutError(f"no answer within {SECONDS} seconds")


def verdict(
    mutation: Mutation, content: Any, use: Callable[[Path], object], path: Path
) -> tuple[Verdict, str]:
    """How whoever uses the mutated file answers it, and what is said."""
    path.write_text(yaml.safe_dump(mutation.apply(content), sort_keys=False), encoding="utf-8")
    signal.signal(signal.SIGALRM, _no_answer)
    signal.alarm(SECONDS)
    try:
        use(path)
    except UserError as mistake:
        said = str(mistake).splitlines()
        right = all(line.startswith((f"{path}: ", "config.yaml: ")) for line in said)
        return (Verdict.SENTENCE if right and len(said) <= MOST_SAID else Verdict.STACK), str(
            mistake
        )
    except Exception as error:
        return Verdict.STACK, f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    wrong = mutation.must_be_refused
    return (Verdict.ACCEPTED_WRONG if wrong else Verdict.ACCEPTED), ""


def plan_recipe(path: Path) -> None:
    """Read a recipe and do what a dry run and a plan do, on the site that comes with the project."""
    site = load_site(ROOT / "config.yaml").model_copy(update={"recipes": path.parent})
    _plan(load_recipe(path), site)


def plan_on_site(path: Path) -> None:
    """The same with a site, for the recipe that it names."""
    site = load_site(path)
    _plan(load_recipe(ROOT / "recipes" / f"{site.recipe}.yaml"), site)


def _plan(recipe: Recipe, site: Site) -> None:
    run = checked_run(recipe, site)
    inputs, digests = run.inputs, run.digests
    for model in recipe.models:
        digests.weights(model)
    for checkpoint in inputs.trained_checkpoints:
        digests.training(checkpoint)
        inputs.packed(checkpoint)
        inputs.stage_machine(checkpoint)
    for mixture in recipe.mixtures:
        inputs.mixture_files(mixture)
        for stage in stages_of_mixture(recipe, mixture):
            digests.mixture(mixture, stage)
    for suite in recipe.suites:
        digests.suite(suite)
        inputs.predictions(suite)
        inputs.suite_files(suite)
    for generator in recipe.generators:
        for samples in recipe.synthesis.kinds if recipe.synthesis else ():
            digests.synthesis(generator, samples)
        run.environment.serving(generator)
    digests.report()
    inputs.report()
    list(lacking(recipe, site, uses_of_recipe(recipe)))
    machine = choose_machine(recipe, site)
    schedule(Planner(recipe, site, machine).steps(), machine.nodes)
