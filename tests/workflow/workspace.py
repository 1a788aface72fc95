"""A folder in which Snakemake runs the small recipe as a user would."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SITE = """\
recipe: small
recipes: {recipes}
generators:
  smollm2: {{kind: llama_cpp, slots: 4, threads: 2}}
evaluation: {{kind: transformers, threads: 2, precision: bfloat16}}
training: {{device: cpu, ranks_per_node: 2, threads_per_rank: 1}}
encoding: {{device: cpu, batch_size: 32, threads: 2}}
"""


@dataclass(frozen=True)
class Workspace:
    """A folder with a site and its own results, where Snakemake runs."""

    folder: Path

    def write_site(self, recipes: Path) -> None:
        (self.folder / "config.yaml").write_text(SITE.format(recipes=recipes))

    @property
    def results(self) -> Path:
        return self.folder / "results" / "small"

    def command(self, *arguments: str) -> list[str]:
        return [
            sys.executable,
            "-m",
            "snakemake",
            "--snakefile",
            str(REPOSITORY / "Snakefile"),
            "--workflow-profile",
            str(REPOSITORY / "profiles" / "local"),
            "--cores",
            "2",
            *arguments,
        ]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Snakemake to its end."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def living_jobs(self) -> list[str]:
        """Command lines of processes that work in this folder."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                if (entry / "cwd").resolve() == self.folder.resolve():
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue  # it ended while we looked
        return found
