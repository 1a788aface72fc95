"""How jobs run on a site: their Python, how they find recipe and site, threads, what they ask SLURM for.

Jobs read copies of the recipe and the site that are named by their content: an edit while a run is under way
does not reach it.
"""

import os
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from selflong.cluster import launch, scheduled
from selflong.formats import digest, publish, write_text
from selflong.job import RUNNER_VARIABLE, runner
from selflong.placement.fit import stage_site
from selflong.recipe.recipe import Recipe
from selflong.recipe.section import Section
from selflong.recipe.site import JOB_KINDS, JobKind, Site
from selflong.root import IS_CHECKOUT, PACKAGE, ROOT
from selflong.tracking import VARIABLE, Tracking


@dataclass(frozen=True)
class Environment:
    """Of the jobs of one recipe on one site."""

    recipe: Recipe
    site: Site

    @property
    def work(self) -> Path:
        """State that an interrupted job resumes from."""
        return self.site.work / self.recipe.name

    @cached_property
    def _copies(self) -> dict[str, tuple[Path, str]]:
        # As they were written: tables show mixtures and models in this order.
        parts = {"RECIPE": self.recipe, "SITE": self.site}
        texts = {name: part.model_dump_json(indent=2) for name, part in parts.items()}
        return {
            name: (self.work / "configuration" / f"{name.lower()}-{digest(text)}.json", text)
            for name, text in texts.items()
        }

    @property
    def search_path(self) -> Path:
        """Folder that holds this package and nothing that would hide another Python's own packages."""
        return ROOT if IS_CHECKOUT else (self.work / "configuration" / "package").absolute()

    def variables(self, conda: bool = False) -> dict[str, str]:
        """Environment variables that the rules' commands use.

        With `conda` Snakemake starts each command inside of its rule's environment, whose Python runs it.
        """
        variables = {f"SELFLONG_{name}": str(path) for name, (path, _) in self._copies.items()}
        python = str(ROOT / "envs" / "python") if conda else sys.executable
        for kind in JOB_KINDS:
            variables[f"{kind.upper()}_PYTHON"] = self.site.python.get(kind, python)
            variables[f"{kind.upper()}_LAUNCH"] = " ".join(launch(self.site, kind))
        if (site := self.site.tracking) is not None:
            folder = (self.work / "tracking" / site.kind).absolute()
            chosen = Tracking(site.kind, site.project, site.offline, self.recipe.name, folder)
            variables[VARIABLE] = chosen.variable()
        paths = [str(self.search_path), *filter(None, [os.environ.get("PYTHONPATH")])]
        return variables | {
            RUNNER_VARIABLE: runner(),
            "SELFLONG": str(ROOT),
            "SELFLONG_PATH": str(self.search_path),
            "PYTHONUTF8": "1",  # whatever the locale: every file of a run is UTF-8
            "SELFLONG_WORK": str(self.work),
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        }

    def write_copies(self) -> None:
        """Write the copies of recipe and site that the jobs read, and a link to an installed package."""
        for path, text in self._copies.values():
            if not path.exists() or path.read_text(encoding="utf-8") != text + "\n":
                write_text(text + "\n", path)
        link = self.search_path / PACKAGE.name
        if not IS_CHECKOUT and (not link.exists() or not link.samefile(PACKAGE)):
            with publish(link) as partial:
                partial.symlink_to(PACKAGE)

    def resources(self, kind: JobKind) -> dict[str, Any]:
        """What a kind of job asks of the scheduler."""
        return scheduled(self.site, kind)

    def threads(self, kind: str) -> int:
        """CPU threads that a kind of job uses on this machine."""
        site = self.site
        return {
            "training": site.training.ranks_per_node * site.training.threads_per_rank,
            "encoding": site.encoding.threads,
            "evaluation": getattr(site.evaluation, "threads", 1),
        }[kind]

    def stage_threads(self, checkpoint: str, initial: Path) -> int:
        """CPU threads of a stage that starts from the folder `initial`.

        One where a small model trains on one core: other jobs run beside it.
        """
        if self.site.training.device == "cuda":
            return self.threads("training")
        section = stage_site(self.recipe, self.site, checkpoint, initial)
        return section.ranks_per_node * section.threads_per_rank

    @property
    def measured_threads(self) -> int:
        """Threads of the measurement: of the jobs that ask for a precision those with most."""
        return max(self.threads("training"), self.threads("evaluation"))

    def suite_threads(self, suite: str) -> int:
        """CPU threads of a job that asks a checkpoint."""
        return 1 if self.recipe.suites[suite].one_thread else self.threads("evaluation")

    def generator_threads(self, generator: str) -> int:
        """CPU threads of a job that asks a generator."""
        return getattr(self.serving(generator), "threads", 1)

    def serving(self, generator: str) -> Section:
        """How the site serves a generator."""
        return self.site.generators[generator]
