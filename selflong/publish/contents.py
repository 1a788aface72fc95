"""What each repository of a published run holds, files and card, before any of it is sent."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jinja2

from selflong.formats import (
    PREDICTIONS,
    PROVENANCE,
    SAMPLES,
    read_parquet,
    read_parquets,
    write_json,
    write_parquet,
    write_text,
)
from selflong.job import UserError
from selflong.publish.licences import Source, hub_licence, refuse, sources_of_data, sources_of_model
from selflong.publish.receipt import receipt, synthesis_cost
from selflong.publish.upload import CARD
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.report.build import data_tables, measured_run, read_scores, suite_tables
from selflong.report.manifest import code_version, downloads
from selflong.results import Results, prediction_files, synthesis_shards, trained_checkpoints
from selflong.tables import markdown, to_markdown

PARTS = ("data", "models", "evaluation")
Kind = Literal["dataset", "model"]
PUBLISHED_PREDICTIONS = {name: kind for name, kind in PREDICTIONS.items() if name != "prompt"}
"""Without the prompts: they hold text of others, and the recipe's seed makes them again."""


@dataclass(frozen=True)
class Publication:
    """A repository of the hub and its files by name."""

    repository: str
    kind: Kind
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Of all its files."""
        return sum(path.stat().st_size for path in self.files.values())


@dataclass(frozen=True)
class Publisher:
    """Makes the publications of a finished run; what it writes itself lies in `folder`."""

    recipe: Recipe
    site: Site
    results: Results
    owner: str
    folder: Path

    def publications(self, parts: Iterable[str]) -> list[Publication]:
        """Of the parts asked for; UserError where the run is not finished or a licence forbids one."""
        if not self.results.manifest.exists():
            raise UserError(f"{self.results.manifest} is not there: run snakemake to its end first")
        makers = {"data": self._data, "models": self._models, "evaluation": self._evaluation}
        return [made for part in parts for made in makers[part]()]

    # ---------------------------------------------------------------------------------------- data

    def _data(self) -> Iterator[Publication]:
        if self.recipe.synthesis is None:
            return
        sources = list(sources_of_data(self.recipe))
        refuse(sources)
        made = self._publication("data", "dataset")
        samples = dict(self._samples())
        made.files.update(
            {
                f"data/{generator}/{kind}/{path.name}": path
                for (generator, kind), paths in samples.items()
                for path in paths
            }
        )
        mixtures = {
            name: part.model_dump(mode="json") for name, part in self.recipe.mixtures.items()
        }
        self._json(made, "mixtures.json", mixtures)
        self._card(
            made,
            "data.md.j2",
            sources,
            configurations={
                f"{generator}_{kind}": f"data/{generator}/{kind}" for generator, kind in samples
            },
            statistics=[_statistics(key, paths) for key, paths in samples.items()],
            costs=synthesis_cost(self.recipe, self.results),
            provenance=[part.name for part in PROVENANCE.fields],
            tables=[to_markdown(table) for table in data_tables(self.recipe, self.results)],
        )
        yield made

    def _samples(self) -> Iterator[tuple[tuple[str, str], list[Path]]]:
        """(generator, kind) -> its files."""
        for generator in self.recipe.generators:
            for kind in self.recipe.synthesis.kinds if self.recipe.synthesis else ():
                shards = synthesis_shards(self.recipe, kind)
                yield (
                    (generator, kind),
                    [self.results.samples(generator, kind, shard) for shard in shards],
                )

    # -------------------------------------------------------------------------------------- models

    def _models(self) -> Iterator[Publication]:
        trained = set(trained_checkpoints(self.recipe))
        tables = [to_markdown(table) for table in self._scores_tables()]
        for name in self.recipe.models:
            checkpoint = self.recipe.last_checkpoint(name)
            if checkpoint not in trained:
                continue
            sources = list(sources_of_model(self.recipe, checkpoint))
            refuse(sources)
            made = self._publication(name.replace(".", "-"), "model")
            folder = self.results.checkpoint(checkpoint)
            made.files.update(
                {
                    path.relative_to(folder).as_posix(): path
                    for path in sorted(folder.rglob("*"))
                    if path.is_file() and not path.name.startswith(".")
                }
            )
            paid = receipt(self.recipe, self.site, self.results, checkpoint)
            self._json(made, "receipt.json", paid)
            self._card(
                made, "model.md.j2", sources, receipt=paid, tables=tables, model=self.recipe.models[name],
                is_causal_model="config.json" in made.files,
            )  # fmt: skip
            yield made

    # ---------------------------------------------------------------------------------- evaluation

    def _evaluation(self) -> Iterator[Publication]:
        made = self._publication("evaluation", "dataset")
        for suite in self.recipe.suites:
            made.files[f"scores/{suite}.parquet"] = self.results.scores(suite)
            for path in prediction_files(self.recipe, self.results, suite):
                name = path.relative_to(self.results.root / "evaluation" / suite).as_posix()
                frame = read_parquet(path, PUBLISHED_PREDICTIONS)
                target = self.folder / made.repository / "predictions" / suite / name
                write_parquet(frame, target, PUBLISHED_PREDICTIONS)
                made.files[f"predictions/{suite}/{name}"] = target
        tables = [to_markdown(table) for table in self._scores_tables()]
        self._card(made, "evaluation.md.j2", [], suites=list(self.recipe.suites), tables=tables)
        yield made

    # -------------------------------------------------------------------------------------- shared

    def _scores_tables(self) -> Sequence[Any]:
        scores = read_scores(self.recipe, self.results)
        return suite_tables(measured_run(self.recipe, self.results, scores))

    def _publication(self, part: str, kind: Kind) -> Publication:
        repository = f"{self.owner}/{self.recipe.name}-{part}"
        files = {"recipe.json": self.folder / repository / "recipe.json"}
        write_json(self.recipe.model_dump(mode="json"), files["recipe.json"])
        return Publication(repository, kind, files | {"manifest.json": self.results.manifest})

    def _json(self, made: Publication, name: str, value: Any) -> None:
        made.files[name] = self.folder / made.repository / name
        write_json(value, made.files[name])

    def _card(self, made: Publication, template: str, sources: list[Source], **values: Any) -> None:
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("selflong.publish", package_path=""),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["text"] = markdown
        text = environment.get_template(template).render(
            recipe=self.recipe, repository=made.repository, sources=sources, code=code_version(),
            licence=hub_licence(sources), downloads=downloads(self.recipe, self.results), **values,
        )  # fmt: skip
        made.files[CARD] = self.folder / made.repository / CARD
        write_text(text, made.files[CARD])


def _statistics(key: tuple[str, str], paths: Sequence[Path]) -> dict[str, Any]:
    """Samples, lengths and families of one generator's samples of one kind."""
    frame = read_parquets(paths, SAMPLES)
    tokens = frame["tokens"]
    families = frame["family"].value_counts(sort=True).iter_rows()
    return {
        "name": "_".join(key),
        "samples": len(frame),
        "tokens": tokens.sum(),
        "shortest": tokens.min() or 0,
        "median": round(float(tokens.median() or 0)),  # type: ignore[arg-type]
        "longest": tokens.max() or 0,
        "families": {str(family): count for family, count in families},
    }
