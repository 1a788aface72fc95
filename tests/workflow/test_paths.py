"""Folders of results and work whose names hold a space."""

from pathlib import Path

from selflong.results import Results
from tests.workflow.workspace import REPOSITORY, Workspace


def test_jobs_run_where_folders_have_spaces_in_their_names(tmp_path: Path) -> None:
    (tmp_path / "a folder").mkdir()
    workspace = Workspace(tmp_path / "a folder")
    workspace.write_site(REPOSITORY / "tests" / "workflow" / "recipes")
    with (workspace.folder / "config.yaml").open("a") as site:
        site.write("results: my results\nwork: my work\n")
    results = Results(Path("my results/small"))
    targets = (results.evaluation_texts, results.source("documents", 0))
    outcome = workspace.run(*map(str, targets))
    assert outcome.returncode == 0, (outcome.stdout + outcome.stderr)[-4000:]
    assert all((workspace.folder / target).exists() for target in targets)
    made = {path.name for path in workspace.folder.iterdir()} - {".snakemake"}
    assert made == {"config.yaml", "my results", "my work"}
