"""Train one stage of a model and publish its checkpoint."""

from pathlib import Path

from selflong.launcher import launch
from selflong.cluster import WARNING_SECONDS, within_time_limit
from selflong.placement.fit import stage_site
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.training.launch import run_stage, stage_job


def train(
    *, recipe: Recipe, site: Site, checkpoint: str, initial: Path, packed: Path, work: Path,
    output: Path, machine: Path | None = None, warning_seconds: float = WARNING_SECONDS,
) -> None:  # fmt: skip
    """Train '<model>/<stage>' from the folder `initial`; `work` keeps the state to resume from.

    machine: the run's measurement of its CPU. warning_seconds: how long before SLURM's time limit the job
    saves its state and is queued again.
    """
    section = stage_site(recipe, site, checkpoint, initial)
    job = stage_job(recipe, section, checkpoint, initial, packed, work, machine)
    with within_time_limit(warning_seconds):
        run_stage(job, section, output)


if __name__ == "__main__":
    launch(train)
