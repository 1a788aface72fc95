"""Two recipes that want the same model of the hub at once."""

import os
import random
import subprocess
from pathlib import Path

import yaml

from selflong.hub import recorded
from selflong.recipe.loading import load_recipe, load_site
from selflong.run.run import Run
from tests.hub_server import COMMIT, HubServer, serve
from tests.workflow.workspace import REPOSITORY, Workspace

RECIPES = ("one", "two")


def write_recipes(workspace: Workspace) -> str:
    """Recipes that start from the same weights of the hub; the folder name of their download."""
    folder = workspace.folder / "recipes"
    folder.mkdir()
    for name in RECIPES:
        content = yaml.safe_load((REPOSITORY / "recipes" / "laptop.yaml").read_text())
        content["name"] = name
        content["models"]["base"]["weights"] = {
            "kind": "hub",
            "repository": "owner/model",
            "revision": "main",
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    workspace.write_site(folder)
    site = load_site(workspace.folder / "config.yaml")
    return next(iter(Run(load_recipe(folder / "one.yaml"), site).inputs.downloads))


def test_one_waits_and_takes_what_the_other_brought(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    name = write_recipes(workspace)
    files = {"config.json": b"{}", "model.safetensors": random.Random(1).randbytes(24_000_000)}
    hub = HubServer("owner/model", files, kind="models", cut_after=11_000_000, cuts=2)
    output = tmp_path / "results" / "downloads" / name
    with serve(hub):
        runs = [
            subprocess.Popen(
                workspace.command(
                    "--config", f"recipe={recipe}", "--", f"results/downloads/{name}"
                ),
                cwd=tmp_path,
                env={**os.environ, "HF_ENDPOINT": hub.url},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for recipe in RECIPES
        ]
        for run in runs:
            text, _ = run.communicate(timeout=120)
            assert run.returncode == 0, text
    # One download, in three parts: its connection was cut twice.
    assert list(hub.bodies().values()) == [3]
    assert (output / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert recorded(output)["commit"] == COMMIT
