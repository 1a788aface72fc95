"""A site with what Snakemake's options give: mistakes are blamed on the place that they stand in."""

from pathlib import Path
from typing import Any

import pytest

from selflong.job import UserError
from selflong.recipe.loading import load_run
from selflong.recipe.reader import read_yaml
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site, TransformersServing, VllmServing

ROOT = Path(__file__).parents[2]
OPTIONS = "--config, --configfile or --site: "


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / "config.yaml").write_text((ROOT / "config.yaml").read_text())
    return Path("config.yaml")


def loaded(site: Path, **given: Any) -> tuple[Recipe, Site]:
    return load_run(site, given)


def sentence(site: Path, **given: Any) -> str:
    with pytest.raises(UserError) as error:
        load_run(site, given)
    return str(error.value)


def test_a_section_that_is_given_keeps_the_keys_that_it_does_not_name(site: Path) -> None:
    _, alone = loaded(site)
    _, given = loaded(site, evaluation={"threads": 7})
    assert isinstance(given.evaluation, TransformersServing)
    assert given.evaluation == alone.evaluation.model_copy(update={"threads": 7})
    assert given.training == alone.training


def test_a_section_of_another_kind_takes_the_place_of_the_old_one(site: Path) -> None:
    _, given = loaded(site, evaluation={"kind": "vllm", "tensor_parallel": 8})
    assert given.evaluation == VllmServing(kind="vllm", tensor_parallel=8)


def test_a_mistake_that_was_given_is_not_blamed_on_the_file(site: Path) -> None:
    assert sentence(site, training={"ring": 0}).startswith(f"{OPTIONS}training.ring: ")
    assert sentence(site, trainig={}).startswith(f"{OPTIONS}trainig: unknown key; did you mean")
    assert sentence(site, evaluation={"kind": "remote"}).splitlines() == [
        f"{OPTIONS}evaluation.url: is missing",
        f"{OPTIONS}evaluation.api_key_variable: is missing",
    ]


def test_a_recipe_is_no_site(site: Path) -> None:
    said = sentence(site, **read_yaml(Path("recipes/recall.yaml")))
    assert (
        said.startswith(f"{OPTIONS}name, description, seed, ")
        and "name it with --config recipe=NAME" in said
    )
    assert "\n" not in said
    assert sentence(site, seed=1).startswith(f"{OPTIONS}seed: a recipe has this key, no site")


def test_a_mistake_of_the_file_is_blamed_on_it(site: Path) -> None:
    site.write_text(site.read_text().replace("threads_per_rank: 1", "threads_per_rank: 0"))
    said = sentence(site, training={"ranks_per_node": 4})
    assert said.startswith("config.yaml: training.threads_per_rank: ")


def test_a_recipe_that_does_not_exist_is_told_the_nearest(site: Path) -> None:
    expected = "recipe: 'labtop' does not exist; did you mean 'laptop'? (in recipes/)"
    assert sentence(site, recipe="labtop") == OPTIONS + expected
    site.write_text(site.read_text().replace("recipe: laptop", "recipe: labtop"))
    assert sentence(site) == f"config.yaml: {expected}"


def test_without_a_site_the_sentence_says_so(site: Path, tmp_path: Path) -> None:
    site.unlink()
    assert sentence(site) == (
        f"config.yaml does not exist in {tmp_path}: start where it lies, or name a site with --configfile"
    )
    assert sentence(site, recipe="laptop").splitlines() == [
        f"config.yaml (there is none in {tmp_path}): {key}: is missing"
        for key in ("evaluation", "training")
    ]


def test_mistakes_of_site_and_recipe_are_said_together(site: Path, tmp_path: Path) -> None:
    site.write_text(site.read_text().replace("ranks_per_node: 2", "ranks_per_node: 0"))
    text = (ROOT / "recipes" / "laptop.yaml").read_text().replace("seed:", "sed:", 1)
    (tmp_path / "recipes").unlink()
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "laptop.yaml").write_text(text)
    places = [line.partition(": ")[2].partition(": ")[0] for line in sentence(site).splitlines()]
    assert places == ["training.ranks_per_node", "sed"]


def test_a_whole_site_may_be_given(site: Path) -> None:
    site.unlink()
    recipe, _ = loaded(
        site,
        recipe="laptop",
        evaluation={"kind": "transformers"},
        training={"ranks_per_node": 1},
    )
    assert recipe.name == "laptop"
