"""The numbers of a job in the program that the site names."""

import sys
from pathlib import Path

import pytest

from selflong.job import UserError
from selflong.llm import Usage
from selflong.llm.progress import Progress
from selflong.recipe.loading import load_recipe, load_site
from selflong.recipe.site import TrackingSite
from selflong.run.environment import Environment
from selflong.tracking import VARIABLE, Tracking, numbers, open_tracker, tensorboard

ROOT = Path(__file__).parents[2]


def chosen(kind: str, folder: Path) -> Tracking:
    return Tracking(kind, "project", True, "laptop", folder)


def test_without_a_choice_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert open_tracker("full/1k") is None


def test_jobs_find_the_choice_of_the_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = load_site(ROOT / "config.yaml").model_copy(
        update={"tracking": TrackingSite(kind="wandb"), "work": tmp_path}
    )
    recipe = load_recipe(ROOT / "recipes" / "laptop.yaml")
    variables = Environment(recipe, site).variables()
    asked: list[Tracking] = []
    monkeypatch.setenv(VARIABLE, variables[VARIABLE])
    monkeypatch.setattr(
        "selflong.tracking.wandb.open_tracker", lambda tracking, name: asked.append(tracking)
    )
    open_tracker("full/1k")
    assert asked == [
        Tracking("wandb", "selflong", True, "laptop", tmp_path / "laptop/tracking/wandb")
    ]


@pytest.mark.parametrize("kind", ["tensorboard", "wandb", "trackio"])
def test_a_program_that_is_not_installed_is_one_sentence(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, chosen(kind, tmp_path).variable())
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(UserError, match=f"tracking.kind: {kind}: .* is not installed"):
        open_tracker("full/1k")


@pytest.mark.parametrize("kind", ["tensorboard", "wandb", "trackio"])
def test_an_installed_program_keeps_the_numbers(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    pytest.importorskip(kind)
    monkeypatch.setenv(VARIABLE, chosen(kind, tmp_path).variable())
    tracker = open_tracker("full/1k")
    assert tracker is not None
    for step in (1, 2):
        tracker.log(step, {"loss": 3.0 / step})
    tracker.close()
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) > 0


def test_only_numbers_are_reported() -> None:
    assert numbers({"loss": 2, "precision": "bfloat16", "first": True}) == {"loss": 2.0}


def test_requests_are_reported_when_they_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: dict[int, dict[str, float]] = {}

    class Kept:
        def log(self, step: int, values: dict[str, float]) -> None:
            said[step] = values

        def close(self) -> None:
            said[-1] = {}

    monkeypatch.setenv(VARIABLE, chosen("tensorboard", tmp_path).variable())
    monkeypatch.setattr(tensorboard, "open_tracker", lambda tracking, name: Kept())
    progress = Progress("model", Usage(answered=3, prompt_tokens=30), expected_samples=4)
    progress.made = 2
    progress.finish()
    assert said[0]["finished"] == 3 and said[0]["prompt_tokens"] == 30 and said[0]["samples"] == 2
    assert -1 in said
