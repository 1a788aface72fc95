"""The dry launch of a two-node stage of a million tokens and of its evaluation."""

import json
import shlex
from pathlib import Path

import pytest
from deepspeed.runtime.config import DeepSpeedConfig

from selflong.estimate.commands import dry_launch
from selflong.job import UserError
from selflong.recipe.loading import load_recipe, load_site
from selflong.run.run import Run

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
RUN = Run(load_recipe(ROOT / "recipes" / "selflong.yaml"), load_site(GOLDEN / "site.yaml"))


@pytest.fixture(scope="module")
def printed() -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONPATH", raising=False)
        patch.chdir(ROOT)
        return dry_launch(RUN, "selflong_8b/1m", "ruler_2024")


def line(printed: str, start: str) -> str:
    (found,) = (line for line in printed.splitlines() if line.startswith(start))
    return found


def test_the_commands_are_these(printed: str) -> None:
    golden = (GOLDEN / "two_nodes_1m.txt").read_text()
    assert printed.replace(str(ROOT), "ROOT") == golden


def test_deepspeed_reads_its_configuration(printed: str) -> None:
    """As one of the 16 ranks: DeepSpeed's parser knows of no others here, so it gets one rank's batch."""
    settings = json.loads(line(printed, "{"))
    assert settings["train_batch_size"] == 16 * settings["gradient_accumulation_steps"]
    alone = settings | {"train_batch_size": settings["train_batch_size"] // 16}
    parsed = DeepSpeedConfig(alone)
    assert parsed.gradient_accumulation_steps == 4
    assert parsed.zero_config.stage == 3
    assert parsed.bfloat16_config.enabled


def test_a_shell_reads_every_command(printed: str) -> None:
    for start in ("sbatch", "exec srun", "HF_HUB_OFFLINE", 'exec "/opt/eval', "vllm serve"):
        lines = [line for line in printed.splitlines() if line.startswith(start)]
        assert lines
        assert all(len(shlex.split(line)) > 5 for line in lines)


@pytest.mark.parametrize(
    ("suite", "checkpoint", "named"),
    [("rular", "selflong_8b/1m", "suites of selflong are"), ("ruler_2024", "full/1m", "full/1m")],
)
def test_what_is_not_there_is_named(suite: str, checkpoint: str, named: str) -> None:
    with pytest.raises(UserError, match=named):
        dry_launch(RUN, checkpoint, suite)
