"""A run given to the hub: what is sent, in which order, what is not sent again, and what reads it back."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from selflong.cli import main
from selflong.formats import write_json
from selflong.hub import RECORD
from selflong.job import UserError
from selflong.publish.contents import Publisher
from selflong.publish.licences import Source, hub_licence, refuse
from selflong.publish.upload import CARD
from selflong.recipe.loading import load_recipe, load_site
from selflong.recipe.section import Licensed
from selflong.recipe.weights import HubWeights
from selflong.results import Results
from tests.publish.upload_hub import UploadHub, serve

TOKEN = "hf_ofthistest"
READ = """
import sys
from datasets import load_dataset
from transformers import AutoModelForCausalLM

samples = load_dataset("me/laptop-data", "smollm2_long_input", split="train")
assert samples["tokens"][:] == [900, 901, 902, 903, 904], samples["tokens"][:]
assert samples[0]["messages"][0]["parts"][0]["text"] == "The 0th document."
assert samples[0]["provenance"]["model"] == "SmolLM2"
scores = load_dataset("me/laptop-evaluation", "ruler", split="train")
assert "score" in scores.column_names and "prompt" not in scores.column_names
model = AutoModelForCausalLM.from_pretrained("me/laptop-full")
print(sum(parameter.numel() for parameter in model.parameters()))
"""


def variables(hub: UploadHub, folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": hub.token,
        "HF_HOME": str(folder),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def publish(hub: UploadHub, workspace: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "selflong.cli", "publish", "me", *arguments],
        cwd=workspace,
        env=variables(hub, workspace / "hub"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(process: "subprocess.Popen[str]") -> str:
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return said


def test_killed_between_and_again_nothing_is_sent_twice_and_all_is_read_back(
    workspace: Path, tmp_path: Path
) -> None:
    hub = UploadHub(token=TOKEN, pause_after=2)
    with serve(hub):
        killed = publish(hub, workspace)
        assert hub.paused.wait(60)
        killed.kill()
        killed.communicate()
        hub.pause_after = None
        hub.resumed.set()
        outcome(publish(hub, workspace))
        puts = [path for path in hub.uploads() if path.startswith("/store/")]
        assert len(puts) == len(set(puts)) > 5
        assert any(path.startswith("/store/part/") for path in puts)
        commits = len(hub.uploads()) - len(puts)

        outcome(publish(hub, workspace))
        again = [path for path in hub.uploads() if path.startswith("/store/")]
        assert again == puts
        assert len(hub.uploads()) - len(puts) == commits

        names = {
            "datasets/me/laptop-data",
            "datasets/me/laptop-evaluation",
            "models/me/laptop-full",
        }
        assert set(hub.repositories) == names
        assert all(repository.private for repository in hub.repositories.values())
        read = subprocess.run(
            [sys.executable, "-c", READ],
            env=variables(hub, tmp_path), cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert read.returncode == 0, read.stderr
    assert int(read.stdout) > 30_000
    receipt = json.loads(hub.repositories["models/me/laptop-full"].files["receipt.json"])
    assert receipt["tokens"] == 2048 * 5
    assert receipt["stages"][0]["devices"] == 2
    assert receipt["cpu_process_hours"] == pytest.approx(2 * 5 * 1.5 / 3600)
    assert receipt["synthesis"]["smollm2"]["requests"] == 21
    card = hub.repositories["datasets/me/laptop-data"].files["README.md"].decode()
    assert "license: other" in card  # Apache-2.0 and CC BY-SA
    assert "| encyclopedia | CC BY-SA (Wikipedia) | name its authors, the same licence" in card
    assert "| smollm2_long_input | 5 | 4,510 | 900 | 902 | 904 | synthesis 5 |" in card


def test_a_dry_run_lists_files_and_sizes_and_sends_nothing(workspace: Path) -> None:
    hub = UploadHub(token=TOKEN)
    with serve(hub):
        said = outcome(publish(hub, workspace, "--dry-run", "--parts", "models"))
    size = (workspace / "results/laptop/models/full/512/model.safetensors").stat().st_size
    assert f"{size:,}  model.safetensors" in said
    assert hub.log == []


def test_a_card_shows_text_and_the_commits_that_were_read(workspace: Path, tmp_path: Path) -> None:
    recipe = load_recipe(workspace / "recipes" / "laptop.yaml")
    results = Results(tmp_path / "results" / "laptop")
    shutil.copytree(workspace / "results" / "laptop", results.root)
    weights = HubWeights(kind="hub", repository="owner/model", revision="main", licence="MIT")
    read = {"kind": "model", "repository": "owner/model", "revision": "main", "commit": "c0ffee"}
    write_json({**read, "files": {}}, results.downloads / "model" / RECORD)
    labels = {"base": "<b>base</b>", "full": "<script>\n| a"}
    models = {
        name: model.model_copy(update={"label": labels.get(name, name)})
        for name, model in recipe.models.items()
    }
    models["base"] = models["base"].model_copy(update={"weights": weights})
    update = {"models": models, "description": "<img src=x>\n# a"}
    site = load_site(workspace / "config.yaml")
    publisher = Publisher(recipe.model_copy(update=update), site, results, "me", tmp_path / "made")
    (made,) = publisher.publications(["models"])
    card = made.files[CARD].read_text()
    assert "\n# laptop: &lt;script&gt; \\| a\n" in card
    assert "\n&lt;img src=x&gt; # a\n" in card
    assert "| &lt;b&gt;base&lt;/b&gt; | MIT |" in card
    assert "| owner/model | main | c0ffee |" in card
    assert json.loads(made.files["receipt.json"].read_text())["downloads"] == [read]


@pytest.mark.parametrize("owner", ["..", "a/b", "", "a b", "-a"])
def test_an_owner_that_the_hub_cannot_have_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], owner: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["selflong", "publish", "--", owner])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "is no user or organisation of the hub\n" in capsys.readouterr().err


def licensed(licence: str | None, republish: bool | None = None) -> Source:
    return Source("corpora.a.sources[0]", "a", Licensed(licence=licence, republish=republish))


@pytest.mark.parametrize(
    ("licence", "republish", "sentence"),
    [
        ("CC BY-ND 4.0", None, "may not be published"),
        ("Apache-2.0", False, "may not be published"),
        ("that of each package", None, "is not known here"),
        (None, None, "has no `licence`"),
    ],
)
def test_what_may_not_be_published_is_refused(
    licence: str | None, republish: bool | None, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        refuse([licensed(licence, republish)])


def test_what_may_be_published_is() -> None:
    refuse([licensed("CC BY-SA (Wikipedia)"), licensed("that of each package", True)])


def test_one_licence_covers_all_or_the_card_says_other() -> None:
    assert hub_licence([licensed("public domain"), licensed("CC BY-SA 4.0")]) == "cc-by-sa-4.0"
    assert hub_licence([licensed("MIT"), licensed("CC BY-SA 4.0")]) == "other"
