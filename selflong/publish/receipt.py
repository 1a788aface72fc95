"""What a model cost and what it was made from: one receipt a checkpoint."""

from typing import Any

from selflong.formats import file_sha256, read_lines
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.report.counts import USED, summed_usage
from selflong.report.manifest import code_version, downloads
from selflong.results import Results, synthesis_shards, synthesis_steps


def receipt(recipe: Recipe, site: Site, results: Results, checkpoint: str) -> dict[str, Any]:
    """Device hours, tokens, money and digests of '<model>/<stage>' and of the stages before it.

    And the commits of the code and of what the run read from the hub.
    """
    stages = [
        _stage(recipe, results, name)
        for name in reversed(list(_lineage(recipe, checkpoint)))
        if results.metrics(name).exists()
    ]
    hours = sum(stage["device_hours"] for stage in stages)
    folder = results.checkpoint(checkpoint)
    return {
        "checkpoint": checkpoint,
        "code": code_version(),
        "recipe_digest": recipe.digest,
        "downloads": downloads(recipe, results),
        "stages": stages,
        "gpu_hours": hours if site.training.device == "cuda" else 0.0,
        "cpu_process_hours": hours if site.training.device == "cpu" else 0.0,
        "tokens": sum(stage["tokens"] for stage in stages),
        "synthesis": synthesis_cost(recipe, results),
        "sha256": {
            str(path.relative_to(folder)): file_sha256(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
    }


def _lineage(recipe: Recipe, checkpoint: str) -> list[str]:
    """The checkpoint and those before it, the last one first."""
    found = [checkpoint]
    while (before := recipe.start_of(found[-1])) is not None:
        found.append(before)
    return found


def _stage(recipe: Recipe, results: Results, checkpoint: str) -> dict[str, Any]:
    rows = read_lines(results.metrics(checkpoint))
    stage = recipe.stage(checkpoint)
    assert stage is not None
    first, last = rows[0], rows[-1]
    # A step's rate is of one device.
    devices = round(first["tokens"] / first["seconds"] / first["tokens_per_second_per_device"])
    seconds = sum(row["seconds"] for row in rows)
    return {
        "checkpoint": checkpoint,
        "length": stage.length,
        "mixture": stage.mixture,
        "steps": last["step"],
        "tokens": last["tokens"],
        "last_loss": last["loss"],
        "devices": devices,
        "seconds": seconds,
        "device_hours": devices * seconds / 3600,
    }


def synthesis_cost(recipe: Recipe, results: Results) -> dict[str, dict[str, Any]]:
    """Generator -> answered requests of finished jobs, tokens, USD (null without a price)."""
    if recipe.synthesis is None:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for name, generator in recipe.generators.items():
        paths = (
            results.usage(name, step, shard)
            for step in synthesis_steps(recipe)
            for shard in synthesis_shards(recipe, step)
        )
        calls = summed_usage([path for path in paths if path.exists()]).values()
        sums = {key: sum(call[key] for call in calls) for key in USED}
        price = generator.price
        usd = price and price.usd(sums["prompt_tokens"], sums["completion_tokens"])
        found[name] = {**sums, "usd": usd}
    return found
