"""Folders of results and work whose names hold a space."""

from pathlib import Path

import yaml

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


def test_a_line_added_to_a_file_of_a_folder_is_noticed(tmp_path: Path) -> None:
    recipe = yaml.safe_load((REPOSITORY / "tests/workflow/recipes/small.yaml").read_text())
    (tmp_path / "mine").mkdir()
    lines = tmp_path / "mine" / "documents.jsonl"
    lines.write_text('{"id": "a", "text": "One."}\n')
    source = {"kind": "folder", "path": "mine", "files": "*.jsonl"}
    recipe["corpora"]["documents"]["sources"] = [source]
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "small.yaml").write_text(yaml.safe_dump(recipe))
    workspace = Workspace(tmp_path)
    workspace.write_site(Path("recipes"))
    target = str(Results(Path("results/small")).source("documents", 0))
    assert workspace.run(target).returncode == 0
    assert "collect_source" not in workspace.run("--dry-run", target).stdout
    with lines.open("a") as stream:
        stream.write('{"id": "b", "text": "Two."}\n')
    assert "collect_source" in workspace.run("--dry-run", target).stdout
