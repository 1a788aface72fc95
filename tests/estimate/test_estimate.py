"""The plan as a whole: counts, schedule, files."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selflong.estimate.data_stages import documents, stage_data
from selflong.estimate.evaluation import loads
from selflong.estimate.schedule import peak_bytes, schedule
from selflong.estimate.steps import Planner, Step
from selflong.estimate.synthesis import Usage, usage
from selflong.estimate.write import _training_stages, printed_costs, write_plan
from selflong.placement.machines import H100, TWO_CORES, choose_machine
from selflong.recipe.loading import load_recipe, load_site
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import PlanSite, TrainingSite
from selflong.results import mixture_stages
from selflong.run.run import Run
from selflong.suites.load import Load
from selflong.suites.needle_grid.section import NeedleGrid

ROOT = Path(__file__).parents[2]
SITE = load_site(ROOT / "config.yaml")
PAPER = load_recipe(ROOT / "recipes" / "selflong.yaml")
LAPTOP = load_recipe(ROOT / "recipes" / "laptop.yaml")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The paper's plan."""
    folder = tmp_path_factory.mktemp("plan")
    write_plan(PAPER, SITE, folder)
    return folder


def test_a_label_is_text_in_the_plan() -> None:
    models = {
        name: model.model_copy(update={"label": f"<b>\n| {name}"})
        for name, model in PAPER.models.items()
    }
    hostile = PAPER.model_copy(update={"models": models})
    starts = [start for start, *_ in _training_stages(hostile, SITE)]
    assert starts
    assert all(start.startswith("&lt;b&gt; \\| ") for start in starts)


def test_the_papers_mixture_holds_its_tokens() -> None:
    total = sum(stage_data(PAPER, "full", stage).tokens for stage in ("256k", "512k", "1m"))
    assert total == pytest.approx(8.3e9, rel=0.01)


def test_the_accounting_of_the_mixtures_adds_up(written: Path) -> None:
    rows = json.loads((written / "plan.json").read_text())["mixtures"]
    shares = Counter[tuple[str, str]]()
    for row in rows:
        shares[row["mixture"], row["stage"]] += row["share"]
    assert len(shares) == 4 * 3
    assert all(share == pytest.approx(1) for share in shares.values())
    full = [row for row in rows if row["mixture"] == "full"]
    # What is taken whole is divided among the stages, each row once.
    assert sum(row["samples"] for row in full if row["source"] == "tulu") == pytest.approx(326_154)
    assert sum(row["samples"] for row in full if row["source"] == "long_input") == pytest.approx(
        69_000
    )
    markdown = (written / "plan.md").read_text()
    assert "| full | 1m | infinity | 7,449,106 | 2,240,620 | 761,000,000 |" in markdown


def test_each_stage_trains_on_what_its_mixture_holds() -> None:
    for name, model in PAPER.models.items():
        for stage in model.stages:
            if stage.mixture is not None:
                held = stage_data(PAPER, stage.mixture, stage.name).tokens
                assert stage.tokens == pytest.approx(held, rel=0.01), (name, stage.name)


def test_the_corpus_has_the_published_size() -> None:
    assert documents(PAPER.corpora["fineweb_edu"]).rows == 9_672_101


def test_a_grid_of_35_by_35_to_a_million_tokens() -> None:
    grid = list(loads(PAPER.suites["needle_grid"]))
    assert sum(load.requests for load in grid) == 35 * 35
    assert sum(load.prompt_tokens for load in grid) == pytest.approx(0.65e9, rel=0.02)


def test_a_model_is_not_asked_beyond_what_it_supports() -> None:
    suite = PAPER.suites["ruler_2024"]
    assert max(load.length for load in loads(suite, supports=131_072)) == 128_000
    assert max(load.length for load in loads(suite)) == 1_000_000


def test_the_jobs_are_those_of_the_rules() -> None:
    run = Run(PAPER, SITE)
    jobs = Counter[str]()
    for step in Planner(PAPER, SITE, H100).steps():
        jobs[step.part] += step.jobs
    predictions = sum(len(run.inputs.predictions(suite)) for suite in PAPER.suites)
    assert jobs["evaluation"] == predictions + len(PAPER.suites) + 1
    assert jobs["training"] == len(list(PAPER.checkpoints()))
    assert jobs["mixture"] == len(mixture_stages(PAPER))
    assert jobs["synthesis"] == 2 * (69 + 69 + 10)
    assert jobs["corpus"] == 1 + 2 * 64 + 1
    assert jobs["retrieval"] == 64 + 2 + 2 * 69


def test_money_is_tokens_times_the_price() -> None:
    generator = PAPER.generators["gpt_4o"]
    assert Usage(1, 2_000_000, 1_000_000).usd(generator) == pytest.approx(2 * 2.5 + 10)
    assert Usage(1, 2_000_000, 1_000_000).usd(PAPER.generators["llama_3.1_8b"]) == 0
    assert usage(PAPER, "gpt_4o")["instructions"].requests >= 69_000


def test_a_recipe_from_the_hub_is_planned_for_gpus_unless_the_site_says_otherwise() -> None:
    assert choose_machine(PAPER, SITE) == H100
    assert choose_machine(LAPTOP, SITE) == TWO_CORES
    eight = SITE.model_copy(update={"plan": PlanSite(machine="h100", nodes=8)})
    assert choose_machine(PAPER, eight) == replace(H100, nodes=8)


def test_a_layout_of_the_site_that_does_not_fit_is_named() -> None:
    given = {"ring": 8, "offload_activations": False, "offload_optimizer": False}
    training = TrainingSite(device="cuda", ranks_per_node=8, **given)
    site = SITE.model_copy(update={"training": training})
    steps = {step.name: step for step in Planner(PAPER, site, H100).steps()}
    assert steps["model selflong_8b/512k"].fits
    million = steps["model selflong_8b/1m"]
    assert not million.fits
    assert "offload_activations: true" in million.advice


def test_the_files_are_whole_and_the_same_each_time(written: Path, tmp_path: Path) -> None:
    write_plan(PAPER, SITE, tmp_path)
    names = sorted(path.name for path in written.glob("[!.]*"))
    assert names == ["plan.json", "plan.md", "timeline.pdf", "timeline.png", "timeline.svg"]
    for name in ("plan.json", "plan.md", "timeline.png"):
        assert (written / name).read_bytes() == (tmp_path / name).read_bytes()
    plan = json.loads((written / "plan.json").read_text())
    assert plan["total"]["jobs"] == sum(step["jobs"] for step in plan["steps"]) < 3000
    assert plan["total"]["peak_bytes"] >= plan["total"]["kept_bytes"]


def test_the_laptop_holds_its_recipe() -> None:
    steps = Planner(LAPTOP, SITE, TWO_CORES).steps()
    assert all(step.fits for step in steps)
    assert not any(step.part == "download" for step in steps)


# ---------------------------------------------------------------------------------------- schedule

step_lists = st.lists(
    st.tuples(st.integers(1, 4), st.floats(1, 100), st.integers(0, 3), st.sets(st.integers(0, 5))),
    min_size=1,
    max_size=8,
).map(
    lambda rows: [
        Step(
            str(row), "corpus", count, seconds, nodes=nodes,
            after=tuple(str(before) for before in after if before < row),
            kept_bytes=10, work_bytes=row,
        )
        for row, (count, seconds, nodes, after) in enumerate(rows)
    ]
)  # fmt: skip


@given(step_lists, st.integers(1, 4))
def test_nothing_starts_before_its_inputs(steps: list[Step], nodes: int) -> None:
    spans = schedule(steps, nodes)
    for step in steps:
        assert spans[step.name].end >= spans[step.name].begin + step.seconds - 1e-6
        for before in step.after:
            assert spans[step.name].begin >= spans[before].end


@given(step_lists, st.integers(1, 4))
def test_the_run_takes_at_least_its_work_over_its_nodes(steps: list[Step], nodes: int) -> None:
    spans = schedule(steps, nodes)
    work = sum(step.jobs * step.seconds * min(step.nodes, nodes) for step in steps)
    assert max(span.end for span in spans.values()) >= work / nodes - 1e-6


@given(step_lists)
def test_the_peak_lies_between_what_is_kept_and_everything(steps: list[Step]) -> None:
    peak = peak_bytes(steps, schedule(steps, 2))
    kept = sum(step.kept_bytes for step in steps)
    assert kept <= peak <= kept + sum(step.work_bytes for step in steps)


def test_a_recipe_without_suites_is_planned() -> None:
    mixture = LAPTOP.mixtures["full"]
    compared = mixture.contamination.model_copy(update={"suites": []})
    mixtures = {"full": mixture.model_copy(update={"contamination": compared})}
    recipe = LAPTOP.model_copy(update={"suites": {}, "mixtures": LAPTOP.mixtures | mixtures})
    steps = Planner(recipe, SITE, TWO_CORES).steps()
    assert "evaluation texts" in {step.name for step in steps}
    schedule(steps, TWO_CORES.nodes)


def test_steps_in_a_circle_are_an_error() -> None:
    steps = [Step("a", "corpus", 1, 1, after=("b",)), Step("b", "corpus", 1, 1, after=("a",))]
    with pytest.raises(ValueError, match="wait for ever: a, b"):
        schedule(steps, 1)


def test_a_haystack_is_read_once_and_from_each_needle_on() -> None:
    def load(**settings: int) -> Load:
        suite = NeedleGrid(
            kind="needle_grid", models=["m"], lengths=[1_000_032], seed=1, **settings
        )
        (found,) = loads(suite)
        return found

    # The whole, and from each depth but the deepest to the end: 1 + 0 to 1 in 34 steps.
    found = load(depths=35)
    assert found.prompt_tokens == 35_000_000
    assert found.read_tokens == pytest.approx(
        1e6 * (1 + sum(k / 34 for k in range(1, 35))), rel=1e-4
    )
    # What is read lies in the later half on average: it looks back further.
    assert 0.5 < found.looked_back < 0.75
    alone = load(depths=1, repeats=3)
    assert (alone.read_tokens, alone.looked_back) == (3_000_000, 0.5)


def test_hours_of_a_stage_stand_beside_the_printed_ones(prolong: Recipe) -> None:
    steps = Planner(prolong, SITE, H100).steps()
    rows = [line.split(" | ") for line in printed_costs(prolong, H100, steps) if "prolong/" in line]
    assert [row[-1] for row in rows] == ["2,200 |", "12,200 |"]
    hours = {step.name: step.device_hours(H100) for step in steps}
    assert [row[3] for row in rows] == [
        f"{hours[f'model prolong/{stage}']:,.0f}" for stage in ("64k", "512k")
    ]
    assert all(step.fits for step in steps)
