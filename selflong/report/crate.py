"""The run as a Workflow Run RO-Crate, whose root is the folder of the results.

RO-Crate 1.1 (https://w3id.org/ro/crate/1.1) with the profiles Workflow RO-Crate 1.0 and Workflow Run Crate
0.5 (https://w3id.org/ro/wfrun/workflow/0.5), written by the library of its authors.
"""

import importlib.metadata
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

from selflong.recipe.recipe import Recipe

LICENCE = "https://spdx.org/licenses/Apache-2.0"
RUN_TERMS = "https://w3id.org/ro/terms/workflow-run/context"
PROFILES = (
    ("https://w3id.org/ro/wfrun/process/0.5", "Process Run Crate", "0.5"),
    ("https://w3id.org/ro/wfrun/workflow/0.5", "Workflow Run Crate", "0.5"),
    ("https://w3id.org/workflowhub/workflow-ro-crate/1.0", "Workflow RO-Crate", "1.0"),
)


@dataclass(frozen=True)
class File:
    """A file of a run; `path` is relative to the results, or to the repository for an input."""

    path: str
    sha256: str
    bytes: int


def crate_metadata(
    recipe: Recipe, workflow: list[File], outputs: list[File], commit: str, date: str
) -> dict[str, Any]:
    """The content of ro-crate-metadata.json; the first file of `workflow` is the Snakefile."""
    crate = ROCrate(version="1.1")
    crate.metadata.extra_contexts.append(RUN_TERMS)
    licence = _context(crate, LICENCE, "Apache License 2.0")
    crate.name = f"selflong, recipe {recipe.name}"
    crate.description = recipe.description
    crate.root_dataset["datePublished"] = date
    crate.license = licence
    main = crate.add_workflow(
        dest_path=workflow[0].path,
        properties={
            **_properties(workflow[0]),
            "name": "From a corpus to tables and figures",
            "version": commit,
        },
        main=True,
        lang="snakemake",
        lang_version=importlib.metadata.version("snakemake"),
    )
    main["license"] = licence
    crate.root_dataset["conformsTo"] = [
        _context(crate, identifier, name, version=version) for identifier, name, version in PROFILES
    ]
    action = crate.add_action(
        main,
        identifier="#run",
        object=[_file(crate, file) for file in workflow[1:]],
        result=[_file(crate, file) for file in outputs],
        properties={
            "name": f"Run of the recipe {recipe.name}",
            "actionStatus": {"@id": "http://schema.org/CompletedActionStatus"},
        },
    )
    crate.root_dataset["mentions"] = [action]
    metadata: dict[str, Any] = crate.metadata.generate()
    return metadata


def _context(crate: ROCrate, identifier: str, name: str, **properties: str) -> ContextEntity:
    described = {"@type": "CreativeWork", "name": name, **properties}
    return crate.add(ContextEntity(crate, identifier, properties=described))


def _file(crate: ROCrate, file: File) -> Any:
    return crate.add_file(dest_path=file.path, properties=_properties(file))


def _properties(file: File) -> dict[str, str]:
    kind, _ = mimetypes.guess_type(file.path)
    return {
        "name": Path(file.path).name,
        "contentSize": str(file.bytes),
        "sha256": file.sha256,
        "encodingFormat": kind or "application/octet-stream",
    }
