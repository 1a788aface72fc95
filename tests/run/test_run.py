"""What the Snakefile asks of a recipe and a site."""

import re
import shutil
from pathlib import Path

import pytest

from selflong.recipe.loading import load_recipe, load_site
from selflong.recipe.prompts import SETS, load_prompt_set
from selflong.recipe.section import Download
from selflong.recipe.weights import HubWeights
from selflong.run.run import Run, alternatives

REPOSITORY = Path(__file__).parents[2]


def run_of(recipe: str) -> Run:
    return Run(
        load_recipe(REPOSITORY / "recipes" / f"{recipe}.yaml"),
        load_site(REPOSITORY / "config.yaml"),
    )


@pytest.fixture(scope="module")
def laptop() -> Run:
    return run_of("laptop")


@pytest.fixture(scope="module")
def selflong() -> Run:
    return run_of("selflong")


def test_alternatives_match_whole_names_alone() -> None:
    pattern = re.compile(alternatives(["a.b", "c"]))
    assert pattern.fullmatch("a.b")
    assert not pattern.fullmatch("axb")
    assert not re.compile(alternatives([])).search("anything")


def test_every_stage_either_trains_or_is_adjusted(selflong: Run) -> None:
    trained, adjusted = (
        set(selflong.inputs.trained_checkpoints),
        set(selflong.inputs.adjusted_checkpoints),
    )
    loaded = {c for c in selflong.recipe.checkpoints() if c.endswith("/initial")}
    assert not trained & adjusted
    assert trained | adjusted | loaded == set(selflong.recipe.checkpoints())


def test_a_stage_starts_from_the_one_before(laptop: Run) -> None:
    assert laptop.inputs.initial("full/512") == Path("results/laptop/models/base/initial")
    assert laptop.inputs.initial("full/2k") == Path("results/laptop/models/full/1k")


def test_ablations_share_the_corpus_and_the_downloads(selflong: Run) -> None:
    mixtures = selflong.recipe.mixtures
    for mixture in mixtures:
        for files in selflong.inputs.entries(mixture).values():
            assert all(
                str(path).startswith(("results/selflong/synthesis/", "results/downloads/"))
                for path in files
            )
    downloads = selflong.inputs.downloads
    assert len(set(downloads.values())) == len(downloads) > 4


def test_two_revisions_of_a_repository_are_two_downloads(laptop: Run) -> None:
    def weights(revision: str) -> HubWeights:
        return HubWeights(kind="hub", repository="owner/model", revision=revision)

    models = {
        revision: laptop.recipe.models["base"].model_copy(update={"weights": weights(revision)})
        for revision in ("v1", "v2")
    }
    run = Run(laptop.recipe.model_copy(update={"models": models}), laptop.site)
    folders = [str(run.inputs.model_weights(revision)) for revision in models]
    assert len(set(folders)) == len(run.inputs.downloads) == 2
    assert len({run.digests.weights(revision) for revision in models}) == 2
    files = {Download("owner/model", "v1", files).name for files in (None, "*", "*.json")}
    assert len(files) == 3


def test_digests_follow_what_is_read(laptop: Run) -> None:
    suites = laptop.recipe.suites
    other = suites["needle_grid"].model_copy(update={"seed": 99})
    assert laptop.digests.of("evaluation", suites["needle_grid"]) != laptop.digests.of(
        "evaluation", other
    )
    assert laptop.digests.of("evaluation", other) != laptop.digests.of("report", other)
    again = run_of("laptop")
    assert laptop.digests.training("full/1k") == again.digests.training("full/1k")


def test_a_plan_follows_the_prompts(laptop: Run, tmp_path: Path) -> None:
    own = Path(shutil.copytree(SETS / "compact", tmp_path / "own"))
    generators = {
        name: generator.model_copy(update={"prompts": str(own)})
        for name, generator in laptop.recipe.generators.items()
    }
    run = Run(laptop.recipe.model_copy(update={"generators": generators}), laptop.site)
    before = run.digests.plan()
    assert before == run.digests.plan() != laptop.digests.plan()
    (own / "summary.md").write_text((own / "summary.md").read_text() + "Be brief.\n")
    load_prompt_set.cache_clear()
    assert run.digests.plan() != before


def test_an_assumption_s_wording_changes_no_digest(selflong: Run) -> None:
    corpus = selflong.recipe.corpora["fineweb_edu"]
    source = corpus.sources[0]
    reworded = source.model_copy(update={"assumed": {"revision": "another reason"}})
    assert (
        corpus.digest
        == corpus.model_copy(update={"sources": [reworded, *corpus.sources[1:]]}).digest
    )


def test_jobs_read_the_copies_of_recipe_and_site(
    laptop: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    laptop.environment.write_copies()
    environment = laptop.environment.variables()
    assert load_recipe(Path(environment["SELFLONG_RECIPE"])) == laptop.recipe
    assert load_site(Path(environment["SELFLONG_SITE"])) == laptop.site
