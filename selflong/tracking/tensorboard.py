"""TensorBoard: event files below the work folder, `tensorboard --logdir` shows them."""

from collections.abc import Mapping

from selflong.tracking import Tracker, Tracking


class _TensorBoard:
    def __init__(self, tracking: Tracking, name: str) -> None:
        import tensorboard  # noqa: F401 - torch names another package where this one is missing
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(tracking.folder / name))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self.writer.add_scalar(key, value, step)

    def close(self) -> None:
        self.writer.close()


def open_tracker(tracking: Tracking, name: str) -> Tracker:
    """Of one job."""
    return _TensorBoard(tracking, name)
