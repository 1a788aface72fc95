"""manifest.json and the RO-Crate beside it: what was run, with what, on what, and what came out."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from selflong import __version__
from selflong.formats import file_sha256, read_object, write_json, write_text
from selflong.hub import RECORD, recorded
from selflong.recipe.recipe import Recipe
from selflong.report.crate import File, crate_metadata
from selflong.results import Results
from selflong.root import PACKAGE, ROOT

NOT_OUTPUTS = ("logs", "benchmarks", ".lock")
CRATE_FILES = ("manifest.json", "ro-crate-metadata.json", "workflow")


# --------------------------------------------------------------------------------------- what is known


def git_commit() -> str | None:
    """The commit that is checked out, with `+changes` where files differ from it; None without git."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    return commit + ("+changes" if _git("status", "--porcelain", "-uno") else "")


def commit_date() -> str | None:
    """Date of that commit, in ISO 8601."""
    return _git("show", "--no-patch", "--format=%cI", "HEAD")


def code_version() -> str:
    """The commit, else the version of the package."""
    return git_commit() or f"version {__version__}"


def _git(*arguments: str) -> str | None:
    if not (ROOT / ".git").exists():
        return None  # whatever repository an installed package lies in, its commit is not the package's
    try:
        result = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
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


def bill_of_materials(versions: Mapping[str, str]) -> dict[str, Any]:
    """The same as a CycloneDX document (https://cyclonedx.org/docs/1.6/json/), which scanners read."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "components": [
            {
                "type": "library",
                "name": name,
                "version": version,
                "purl": f"pkg:pypi/{name.replace('_', '-')}@{quote(version)}",
            }
            for name, version in versions.items()
        ],
    }


def seeds(recipe: Recipe) -> dict[str, int]:
    """Every seed of a recipe by its place."""
    found = {"seed": recipe.seed}
    for name, suite in recipe.suites.items():
        if hasattr(suite, "seed"):
            found[f"suites.{name}.seed"] = suite.seed
    for name, mixture in recipe.mixtures.items():
        if mixture.deduplication is not None:
            found[f"mixtures.{name}.deduplication.seed"] = mixture.deduplication.seed
        for entry_name, entry in mixture.entries.items():
            if hasattr(entry.source, "seed"):
                found[f"mixtures.{name}.entries.{entry_name}.source.seed"] = entry.source.seed
    for name, model in recipe.models.items():
        if model.seed is not None:
            found[f"models.{name}.seed"] = model.seed
    return found


def inputs(recipe_file: Path) -> list[File]:
    """What a run reads of the project: code, rules, recipe, environments, published results."""
    beside = _files(ROOT, ("Snakefile", "config.yaml", "pyproject.toml", "rules/*.smk", "scripts/*.py",
                           "envs/*", "resources/*"))  # fmt: skip
    package = (
        _files(PACKAGE, ("**/*.py", "**/*.md", "**/*.j2", "**/*.csv", "**/*.txt", "**/*.yaml"))
        - beside
    )
    return sorted(
        [*described(beside | {recipe_file}, ROOT), *described(package, PACKAGE.parent)],
        key=lambda file: file.path,
    )


def _files(folder: Path, patterns: Iterable[str]) -> set[Path]:
    return {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}


def output_paths(results: Results) -> list[Path]:
    """Every file that the run made, but for logs, timings and the manifest itself."""
    return sorted(
        path
        for path in results.root.rglob("*")
        if path.is_file()
        and path.relative_to(results.root).parts[0] not in (*NOT_OUTPUTS, *CRATE_FILES)
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
    recipe: Recipe, recipe_file: Path, results: Results, manifest: Path, crate: Path
) -> None:
    """Publish manifest.json and ro-crate-metadata.json; the workflow's files are copied into the crate."""
    recipe_file = recipe_file.resolve()
    outputs = described(output_paths(results), results.root)
    write_json(
        {
            "recipe": recipe.model_dump(mode="json"),
            "recipe_file": recipe_file.name,
            "deviations": list(recipe.deviations),
            "licences": licences(recipe),
            "downloads": downloads(recipe, results),
            "git_commit": git_commit(),
            "version": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "machine": _machine(results),
            "packages": package_versions(),
            "bill_of_materials": bill_of_materials(package_versions()),
            "seeds": seeds(recipe),
            "inputs": [vars(file) for file in inputs(recipe_file)],
            "outputs": [vars(file) for file in outputs],
        },
        manifest,
    )
    workflow = _copy_workflow(recipe_file, results)
    commit = code_version()
    date = commit_date() or "1970-01-01T00:00:00+00:00"
    write_json(crate_metadata(recipe, workflow, outputs, commit, date), crate)


def downloads(recipe: Recipe, results: Results) -> list[dict[str, Any]]:
    """The commit of the hub that was read for each repository and revision of the recipe."""
    named = set(_repositories(recipe.model_dump(mode="json")))
    paths = [
        *results.downloads.glob(f"*/{RECORD}"),
        *results.root.glob(f"corpus/*/sources/*/{RECORD}"),
    ]
    records = [recorded(path.parent) for path in sorted(paths)]
    return [
        {key: record[key] for key in ("kind", "repository", "revision", "commit")}
        for record in records
        if record and (record["repository"], record["revision"]) in named
    ]


def _repositories(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        if {"repository", "revision"} <= value.keys():
            yield value["repository"], value["revision"]
        for item in value.values():
            yield from _repositories(item)
    elif isinstance(value, list):
        for item in value:
            yield from _repositories(item)


def _machine(results: Results) -> dict[str, Any] | None:
    """The measurement that decided the precision on a CPU."""
    path = results.machine
    return read_object(path) if path.exists() else None


def licences(recipe: Recipe) -> dict[str, str]:
    """Licence of each source and of packaged weights, by place, where the recipe names it."""
    found: dict[str, str] = {}
    for name, corpus in recipe.corpora.items():
        for index, source in enumerate(corpus.sources):
            if licence := getattr(source, "licence", None):
                found[f"corpora.{name}.sources[{index}]"] = licence
    for name, mixture in recipe.mixtures.items():
        for entry_name, entry in mixture.entries.items():
            if licence := getattr(entry.source, "licence", None):
                found[f"mixtures.{name}.entries.{entry_name}"] = licence
    for name, model in recipe.models.items():
        if licence := getattr(model.weights, "licence", None):
            found[f"models.{name}.weights"] = licence
    return found


def _copy_workflow(recipe_file: Path, results: Results) -> list[File]:
    """Snakefile, rules and recipe in the crate's folder of the workflow: a crate must hold its workflow."""
    paths = [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]
    targets = []
    for path in [*paths, recipe_file]:
        inside = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name
        target = results.crate_workflow / inside
        write_text(path.read_text(encoding="utf-8"), target)
        targets.append(target)
    return described(targets, results.root)
