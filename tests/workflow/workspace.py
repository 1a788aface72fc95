"""A folder in which Snakemake runs a small recipe as a user would."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from selflong.formats import remove
from tests.waiting import wait_for

REPOSITORY = Path(__file__).parents[2]
SITE = """\
recipe: {recipe}
recipes: {recipes}
generators:
  smollm2: {{kind: llama_cpp, slots: 4, threads: 1}}
evaluation: {{kind: transformers, threads: 1}}
training: {{device: cpu, ranks_per_node: {ranks}, ring: {ranks}, threads_per_rank: 1}}
encoding: {{device: cpu, batch_size: 32, threads: 1}}
"""


@dataclass(frozen=True)
class Workspace:
    """A folder with a site and its own results, where Snakemake runs."""

    folder: Path
    recipe: str = "small"
    ranks: int = 2

    def write_site(self, recipes: Path) -> None:
        text = SITE.format(recipe=self.recipe, recipes=recipes, ranks=self.ranks)
        (self.folder / "config.yaml").write_text(text)

    @property
    def results(self) -> Path:
        return self.folder / "results" / self.recipe

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

    def run_and_kill(self, target: Path, log: Path, marker: str, job: str | None = None) -> None:
        """Ask Snakemake for `target`; SIGKILL it, or its job, once `marker` stands in a new `log`.

        `job` is the name of the job's launcher.
        """
        log.unlink(missing_ok=True)
        output = self.folder / "killed.log"
        with output.open("w") as stream:
            process = subprocess.Popen(
                self.command("--", str(target.relative_to(self.folder))),
                cwd=self.folder,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_for(
                lambda: log.exists() and marker in log.read_text(errors="replace"), process.pid
            )
        except AssertionError as reason:
            process.kill()
            raise AssertionError(
                f"no {marker!r} in {log} ({reason}): {output.read_text()[-3000:]}"
            ) from None
        if job is None:
            process.send_signal(signal.SIGKILL)
        else:
            os.kill(self._process_of(job), signal.SIGKILL)
        assert process.wait(timeout=60) != 0

    def _process_of(self, launcher: str, seconds: float = 20) -> int:
        """The process that runs a launcher itself, not the shell that becomes it."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            for pid, command in self._processes():
                if launcher in command and "python" in command.split()[0]:
                    return pid
            time.sleep(0.05)
        raise AssertionError(f"no process runs {launcher}: {self.living_jobs()}")

    def living_jobs(self) -> list[str]:
        """Command lines of processes that work in this folder."""
        return [command for _, command in self._processes()]

    def _processes(self) -> list[tuple[int, str]]:
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                if (entry / "cwd").resolve() == self.folder.resolve():
                    command = (entry / "cmdline").read_text().replace("\0", " ")
                    found.append((int(entry.name), command))
            except OSError:
                continue  # it ended while we looked
        return found


def rules_to_run(workspace: Workspace, *arguments: str) -> dict[str, int]:
    """Rule -> number of jobs of a dry run."""
    outcome = workspace.run("--dry-run", *arguments)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    lines = re.findall(r"^(\w+) +(\d+)$", outcome.stdout + outcome.stderr, flags=re.MULTILINE)
    return {rule: int(jobs) for rule, jobs in lines if rule not in ("total", "all")}


def wait_until_none_lives(workspace: Workspace, seconds: float = 15) -> None:
    """The kernel tells the jobs that their parent ended; they stop their servers and end, or are ended.

    On a machine with other work: tests/test_job.py holds that a job ends within five seconds.
    """
    limit = time.monotonic() + seconds
    while workspace.living_jobs() and time.monotonic() < limit:
        time.sleep(0.2)
    assert workspace.living_jobs() == []


def kill_and_go_on(
    workspace: Workspace, target: str, log: str, marker: str, job: str | None = None
) -> Path:
    """Make `target` again, killed once on the way; what lies there at the end."""
    path = workspace.results / target
    remove(path)
    workspace.run_and_kill(path, workspace.results / "logs" / log, marker, job)
    wait_until_none_lives(workspace)
    assert not path.exists(), "a killed job left its output under the final name"
    outcome = workspace.run("--", str(path.relative_to(workspace.folder)))
    assert outcome.returncode == 0, (outcome.stdout + outcome.stderr)[-4000:]
    wait_until_none_lives(workspace)
    return path


def assert_same_weights(expected: Path, found: Path, most: float = 1e-5) -> None:
    """Model folders whose weights differ by `most` at most."""
    compared = 0
    for path in sorted(expected.glob("*.safetensors")):
        with safe_open(path, "pt") as here, safe_open(found / path.name, "pt") as there:
            for name in here.keys():  # noqa: SIM118 - not a dictionary
                difference = here.get_tensor(name).float() - there.get_tensor(name).float()
                assert float(difference.abs().max()) <= most, name
                compared += 1
    assert compared > 0
