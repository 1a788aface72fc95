"""Jobs of two kinds, each in an environment of its own."""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

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


# What Snakemake asks of conda; an environment that it "makes" is a virtual one with a note of each start.
CONDA = """\
#!{python}
import json, sys
from pathlib import Path
sys.path.insert(0, {repository!r})
if sys.argv[1] == "--version":
    print("conda 25.1.0")
elif sys.argv[1] == "info":
    print(json.dumps({{"conda_prefix": {prefix!r}, "platform": "linux-64", "envs": []}}))
elif sys.argv[1] == "config":
    print(json.dumps({{"get": {{"channel_priority": "strict"}}}}))
elif sys.argv[1:3] == ["env", "create"]:
    from tests.workflow.test_environments import environment
    environment(Path(sys.argv[sys.argv.index("--prefix") + 1]))
"""


def test_a_job_runs_in_the_conda_environment_of_its_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = tmp_path / "conda"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "activate").write_text('export PATH="$1/bin:$PATH"\n')
    conda = prefix / "bin" / "conda"
    content = {"python": sys.executable, "repository": str(REPOSITORY), "prefix": str(prefix)}
    conda.write_text(CONDA.format(**content))
    conda.chmod(0o755)
    monkeypatch.setenv("PATH", f"{prefix / 'bin'}:{os.environ['PATH']}")
    workspace = Workspace(tmp_path)
    workspace.write_site(REPOSITORY / "tests" / "workflow" / "recipes")
    output = "corpus/documents/sources/0"
    outcome = workspace.run("--sdm", "conda", "--", f"results/small/{output}")
    assert outcome.returncode == 0, (outcome.stdout + outcome.stderr)[-4000:]
    (started,) = tmp_path.glob(".snakemake/conda/*/started.txt")
    assert "collect_source.py" in started.read_text()
    assert (workspace.results / output / "source.json").exists()


ENVIRONMENTS = {"ENCODING": "serving", "SYNTHESIS": "serving"}


def test_the_environment_of_each_rule_is_that_of_its_kind_of_job() -> None:
    pairs = [
        pair
        for path in sorted((REPOSITORY / "rules").glob("*.smk"))
        for pair in re.findall(
            r'conda:\s*"../envs/(\w+)\.yaml".*?\$([A-Z]+)_PYTHON', path.read_text(), re.DOTALL
        )
    ]
    assert len(pairs) > 20
    for environment_name, kind in pairs:
        assert environment_name == ENVIRONMENTS.get(kind, kind.lower())
