"""A rule's named files become the options of its command, whatever characters their paths hold."""

import re
import subprocess
from pathlib import Path

from snakemake.iocontainers import InputFiles, OutputFiles, Wildcards

from selflong.run.options import options
from tests.test_launcher import REPOSITORY

STRANGE = "my results/$(touch made)/it's; *"


def named(kind: type, **files: object) -> object:
    return kind(fromdict=files)


def words(rendered: str, folder: Path) -> list[str]:
    """What a command receives from the shell."""
    command = f"printf '%s\\n' {rendered}"
    done = subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_the_command_receives_every_path_whole(tmp_path: Path) -> None:
    render = options(
        suite="{suite}",
        sample_files=lambda wildcards: {"a_b.1": [Path(STRANGE)], "none": []},
        work=Path("my work") / "{suite}",
    )
    rendered = render(
        named(Wildcards, suite="ruler"),
        named(InputFiles, token_counts=[STRANGE, "b"], weights=[]),
        named(OutputFiles, output=STRANGE),
    )
    assert words(rendered, tmp_path) == [
        *("--token-counts", STRANGE, "b", "--output", STRANGE, "--suite", "ruler"),
        *("--sample-files.a_b-1", STRANGE, "--work", "my work/ruler"),
    ]
    assert list(tmp_path.iterdir()) == []


def test_no_command_of_a_rule_holds_an_unquoted_path() -> None:
    for path in (REPOSITORY / "rules").glob("*.smk"):
        found = re.findall(r"\{(?:input|output|log)[.\w]*\}", path.read_text())
        assert found == [], path.name
