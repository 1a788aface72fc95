"""Ask a checkpoint a suite's questions and score its answers."""

from collections.abc import Sequence
from pathlib import Path

from selflong.launcher import launch
from selflong.evaluation.evaluate import evaluate
from selflong.precision import decided_serving
from selflong.recipe.models import Chat
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.recipe.weights import EndpointWeights
from selflong.results import ALL_LENGTHS
from selflong.suites.evaluation_job import Job


def ask(
    *, recipe: Recipe, site: Site, suite: str, checkpoint: str, lengths: str, model: Path,
    tokenizer: Path, files: Sequence[Path] = (), machine: Path | None = None, work: Path,
    output: Path,
) -> None:  # fmt: skip
    """Ask '<model>/<stage>' at one of the suite's lengths, or at all.

    model, tokenizer: folders. files: download of the suite, or files that it names. machine: the run's
    measurement of its CPU. work: keeps the answered requests.
    """
    section = recipe.asked(suite, checkpoint)
    assert section is not None, "the rules ask for what the recipe names"
    name = checkpoint.partition("/")[0]
    weights = recipe.models[name].weights
    remote = weights if isinstance(weights, EndpointWeights) else None
    job = Job(
        suite_name=suite,
        suite=section,
        checkpoint=checkpoint,
        model=model,
        tokenizer=tokenizer,
        serving=site.endpoints[name]
        if remote
        else decided_serving(site.evaluation, checkpoint, machine),
        work=work,
        chat_date=recipe.chat_date,
        supports=recipe.models[name].supports,
        files=files,
        helmet=site.helmet,
        chat=recipe.models[name].chat or Chat(),
        endpoint=remote,
    )
    evaluate(job, output, None if lengths == ALL_LENGTHS else [int(lengths)])


if __name__ == "__main__":
    launch(ask, resumes=True)
