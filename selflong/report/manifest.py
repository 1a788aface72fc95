"""manifest.json and a Workflow Run RO-Crate: what was run, with what, on what, and what came out.

The crate follows RO-Crate 1.1 (https://w3id.org/ro/crate/1.1) with the profiles Workflow RO-Crate 1.0 and
Workflow Run Crate 0.5 (https://w3id.org/ro/wfrun/workflow/0.5). Its root is the folder of the results.
"""

import importlib.metadata
import json
import mimetypes
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selflong.formats import file_sha256, write_json, write_text
from selflong.recipe import Recipe, SynthesisedSamples

REPOSITORY = Path(__file__).parent.parent.parent
LICENCE = "https://spdx.org/licenses/Apache-2.0"
SNAKEMAKE = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"
PROFILES = (
    ("https://w3id.org/ro/wfrun/process/0.5", "Process Run Crate", "0.5"),
    ("https://w3id.org/ro/wfrun/workflow/0.5", "Workflow Run Crate", "0.5"),
    ("https://w3id.org/workflowhub/workflow-ro-crate/1.0", "Workflow RO-Crate", "1.0"),
)
NOT_OUTPUTS = ("logs", "benchmarks", ".lock")
CRATE_FILES = ("manifest.json", "ro-crate-metadata.json", "workflow")


@dataclass(frozen=True)
class File:
    """A file of a run; `path` is relative to the results, or to the repository for an input."""

    path: str
    sha256: str
    bytes: int


# --------------------------------------------------------------------------------------- what is known


def git_commit(folder: Path = REPOSITORY) -> str | None:
    """The commit that is checked out, with `+changes` where files differ from it; None without git."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    return commit + ("+changes" if _git(folder, "status", "--porcelain", "-uno") else "")


def commit_date(folder: Path = REPOSITORY) -> str | None:
    """Date of that commit, in ISO 8601."""
    return _git(folder, "show", "--no-patch", "--format=%cI", "HEAD")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def package_versions() -> dict[str, str]:
    """Every installed distribution."""
    found = {
        distribution.metadata["Name"].lower(): distribution.version
        for distribution in importlib.metadata.distributions()
    }
    return dict(sorted(found.items()))


def seeds(recipe: Recipe) -> dict[str, int]:
    """Every seed of a recipe by its place."""
    found = {"seed": recipe.seed}
    for name, suite in recipe.suites.items():
        if hasattr(suite, "seed"):
            found[f"suites.{name}.seed"] = suite.seed
    for name, mixture in recipe.mixtures.items():
        found[f"mixtures.{name}.deduplication.seed"] = mixture.deduplication.seed
    for name, model in recipe.models.items():
        if model.seed is not None:
            found[f"models.{name}.seed"] = model.seed
    if recipe.recall is not None:
        for name, data in recipe.recall.data.items():
            found[f"recall.data.{name}.seed"] = data.seed
    return found


def input_paths(recipe_file: Path, repository: Path = REPOSITORY) -> list[Path]:
    """What a run reads from the repository: code, rules, recipe, environments, published results."""
    patterns = ("Snakefile", "config.yaml", "rules/*.smk", "scripts/*.py", "envs/*", "resources/*",
                "selflong/**/*.py", "selflong/**/*.md", "pyproject.toml")  # fmt: skip
    found = {path for pattern in patterns for path in repository.glob(pattern) if path.is_file()}
    return sorted(found | {recipe_file})


def output_paths(results: Path) -> list[Path]:
    """Every file that the run made, but for logs, timings and the manifest itself."""
    return sorted(
        path
        for path in results.rglob("*")
        if path.is_file()
        and path.relative_to(results).parts[0] not in (*NOT_OUTPUTS, *CRATE_FILES)
        and not path.name.startswith(".")
    )


def described(paths: Iterable[Path], root: Path) -> list[File]:
    """Each file with its digest; a path outside of `root` stays absolute."""
    return [
        File(
            str(path.relative_to(root) if path.is_relative_to(root) else path),
            file_sha256(path),
            path.stat().st_size,
        )
        for path in paths
    ]


# -------------------------------------------------------------------------------------------- writing


def write_manifest(
    recipe: Recipe, recipe_file: Path, results: Path, manifest: Path, crate: Path,
    repository: Path = REPOSITORY,
) -> None:  # fmt: skip
    """Publish manifest.json and ro-crate-metadata.json; the workflow's files are copied into the crate."""
    repository, recipe_file = repository.resolve(), recipe_file.resolve()
    inputs = described(input_paths(recipe_file, repository), repository)
    outputs = described(output_paths(results), results)
    write_json(
        {
            "recipe": recipe.model_dump(mode="json"),
            "recipe_file": recipe_file.name,
            "deviations": list(recipe.deviations),
            "licences": licences(recipe),
            "git_commit": git_commit(repository),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "machine": _machine(results),
            "packages": package_versions(),
            "seeds": seeds(recipe),
            "inputs": [vars(file) for file in inputs],
            "outputs": [vars(file) for file in outputs],
        },
        manifest,
    )
    workflow = _copy_workflow(repository, recipe_file, results)
    write_json(_crate(recipe, workflow, outputs, repository), crate)


def _machine(results: Path) -> dict[str, Any] | None:
    """The measurement that decided the precision on a CPU."""
    path = results / "machine.json"
    return json.loads(path.read_text()) if path.exists() else None


def licences(recipe: Recipe) -> dict[str, str]:
    """Licence of each source and of packaged weights, by place, where the recipe names it."""
    found: dict[str, str] = {}
    for name, corpus in recipe.corpora.items():
        for index, source in enumerate(corpus.sources):
            if licence := getattr(source, "licence", None):
                found[f"corpora.{name}.sources[{index}]"] = licence
    for name, mixture in recipe.mixtures.items():
        for entry_name, entry in mixture.entries.items():
            licence = getattr(entry.source, "licence", None)
            if licence and not isinstance(entry.source, SynthesisedSamples):
                found[f"mixtures.{name}.entries.{entry_name}"] = licence
    for name, model in recipe.models.items():
        if licence := getattr(model.weights, "licence", None):
            found[f"models.{name}.weights"] = licence
    return found


def _copy_workflow(repository: Path, recipe_file: Path, results: Path) -> list[File]:
    """Snakefile, rules and recipe below results/workflow: a crate must hold its workflow."""
    paths = [repository / "Snakefile", *sorted((repository / "rules").glob("*.smk"))]
    targets = []
    for path in [*paths, recipe_file]:
        inside = path.relative_to(repository) if path.is_relative_to(repository) else path.name
        target = results / "workflow" / inside
        write_text(path.read_text(), target)
        targets.append(target)
    return described(targets, results)


def _crate(
    recipe: Recipe, workflow: list[File], outputs: list[File], repository: Path
) -> dict[str, Any]:
    main, others = workflow[0], workflow[1:]
    references = [{"@id": file.path} for file in (*workflow, *outputs)]
    commit = git_commit(repository) or "unknown"
    date = commit_date(repository) or "1970-01-01T00:00:00+00:00"
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"selflong, recipe {recipe.name}",
        "description": recipe.description,
        "datePublished": date,
        "license": {"@id": LICENCE},
        "conformsTo": [{"@id": identifier} for identifier, _, _ in PROFILES],
        "hasPart": references,
        "mainEntity": {"@id": main.path},
        "mentions": [{"@id": "#run"}],
    }
    descriptor = {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": [
            {"@id": "https://w3id.org/ro/crate/1.1"},
            {"@id": "https://w3id.org/workflowhub/workflow-ro-crate/1.0"},
        ],
    }
    definition = {
        **_file_entity(main),
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
        "name": "From a corpus to tables and figures",
        "version": commit,
        "license": {"@id": LICENCE},
        "programmingLanguage": {"@id": SNAKEMAKE},
    }
    action = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": f"Run of the recipe {recipe.name}",
        "instrument": {"@id": main.path},
        "actionStatus": {"@id": "http://schema.org/CompletedActionStatus"},
        "object": [{"@id": file.path} for file in others],
        "result": [{"@id": file.path} for file in outputs],
    }
    language = {
        "@id": SNAKEMAKE,
        "@type": "ComputerLanguage",
        "name": "Snakemake",
        "identifier": {"@id": "https://doi.org/10.1093/bioinformatics/bts480"},
        "url": {"@id": "https://snakemake.github.io"},
        "version": importlib.metadata.version("snakemake"),
    }
    profiles = [
        {"@id": identifier, "@type": "CreativeWork", "name": name, "version": version}
        for identifier, name, version in PROFILES
    ]
    licence = {"@id": LICENCE, "@type": "CreativeWork", "name": "Apache License 2.0"}
    files = [_file_entity(file) for file in (*others, *outputs)]
    return {
        "@context": [
            "https://w3id.org/ro/crate/1.1/context",
            "https://w3id.org/ro/terms/workflow-run/context",
        ],
        "@graph": [descriptor, root, definition, action, language, licence, *profiles, *files],
    }


def _file_entity(file: File) -> dict[str, Any]:
    kind, _ = mimetypes.guess_type(file.path)
    return {
        "@id": file.path,
        "@type": "File",
        "name": Path(file.path).name,
        "contentSize": str(file.bytes),
        "sha256": file.sha256,
        "encodingFormat": kind or "application/octet-stream",
    }
