"""Weights & Biases, offline unless the site says otherwise: `wandb sync` sends what was kept."""

from collections.abc import Mapping

from selflong.formats import digest
from selflong.tracking import Tracker, Tracking


class _Wandb:
    def __init__(self, tracking: Tracking, name: str) -> None:
        import wandb

        # A job that goes on from its saved state goes on in the same run.
        self.run = wandb.init(
            project=tracking.project, group=tracking.run, name=name, dir=str(tracking.folder),
            id=digest([tracking.run, name]), resume="allow",
            mode="offline" if tracking.offline else "online",
        )  # fmt: skip

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        self.run.finish()


def open_tracker(tracking: Tracking, name: str) -> Tracker:
    """Of one job."""
    return _Wandb(tracking, name)
