"""Trackio: a database below the work folder, `trackio show` draws it."""

import os
from collections.abc import Mapping

from selflong.tracking import Tracker, Tracking


class _Trackio:
    def __init__(self, tracking: Tracking, name: str) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(tracking.folder))  # read when it is imported
        import trackio

        self.run = trackio.init(
            project=tracking.project, name=f"{tracking.run}/{name}", resume="allow", embed=False
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        self.run.finish()


def open_tracker(tracking: Tracking, name: str) -> Tracker:
    """Of one job."""
    return _Trackio(tracking, name)
