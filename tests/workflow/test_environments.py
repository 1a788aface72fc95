"""Jobs of two kinds, each in an environment of its own."""

import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.workflow.workspace import REPOSITORY, Workspace

# Whatever Python starts here says so.
NOTE = """\
import sys
from pathlib import Path

with Path(sys.prefix, "started.txt").open("a") as stream:
    stream.write(" ".join(sys.orig_argv) + "\\n")
"""


def environment(folder: Path) -> Path:
    """A virtual environment that finds the packages of this one; its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (packages / "sitecustomize.py").write_text(NOTE)
    return folder / "bin" / "python"


def test_two_kinds_of_jobs_run_in_two_environments(tmp_path: Path) -> None:
    pythons = {kind: environment(tmp_path / kind) for kind in ("pipeline", "evaluation")}
    workspace = Workspace(tmp_path)
    workspace.write_site(REPOSITORY / "tests" / "workflow" / "recipes")
    with (tmp_path / "config.yaml").open("a") as site:
        site.write("python:\n")
        site.writelines(f"  {kind}: {python}\n" for kind, python in pythons.items())
    outputs = ("corpus/documents/sources/0", "evaluation/texts.parquet")
    outcome = workspace.run(*(f"results/small/{output}" for output in outputs))
    assert outcome.returncode == 0, (outcome.stdout + outcome.stderr)[-4000:]
    started = {kind: (tmp_path / kind / "started.txt").read_text() for kind in pythons}
    assert "collect_source.py" in started["pipeline"]
    assert "write_evaluation_texts.py" in started["evaluation"]
    assert "write_evaluation_texts.py" not in started["pipeline"]
    assert "collect_source.py" not in started["evaluation"]
    assert all((workspace.results / output).exists() for output in ("evaluation/texts.parquet",))
