"""What is asked of which checkpoint: all that a kind's prompts or harness may need beside its settings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selflong.job import UserError
from selflong.recipe.models import Chat
from selflong.recipe.site import HelmetSite, Serving
from selflong.recipe.weights import EndpointWeights
from selflong.suites.section import SuiteSection


@dataclass(frozen=True)
class Job:
    """A suite and a checkpoint."""

    suite_name: str
    suite: SuiteSection
    checkpoint: str
    """<model>/<stage>, as the predictions name it."""
    model: Path
    """Hugging Face model folder; of a model at an endpoint its tokenizer's."""
    tokenizer: Path
    """Folder of the tokenizer, which is that of the model at the head of the checkpoint's chain."""
    serving: Serving
    work: Path
    """Where answers are kept, so that an interrupted job goes on; jobs of other lengths may share it."""
    chat_date: str
    supports: int | None = None
    """Longest length that the model is asked at; longer ones of the suite are left out."""
    files: Sequence[Path] = ()
    """Its download, or the files that it names."""
    helmet: HelmetSite | None = None
    chat: Chat = field(default_factory=Chat)
    """How the model is spoken to."""
    endpoint: EndpointWeights | None = None
    """The model, where it answers at an endpoint."""

    @property
    def download(self) -> Path:
        """Folder of what the suite reads from the hub."""
        if not self.files:
            raise UserError(f"suites.{self.suite_name}: its download is missing")
        return self.files[0]
