"""The recipe of `selflong evaluate`: suites of a catalogue, asked of models that a user names one by one.

The catalogue is a recipe itself (recipes/evaluate.yaml); its suites hold their settings at every length. What
is chosen of them becomes a recipe of its own. A model that is added later leaves what was asked of the
others as it was, so that it alone is evaluated.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from selflong.formats import write_text
from selflong.hub import download_files
from selflong.job import UserError
from selflong.llm.serve import checkpoint_context
from selflong.placement.shapes import CONFIG, configuration_folder
from selflong.recipe.loading import load_recipe, parse
from selflong.recipe.reader import read_yaml
from selflong.recipe.section import LONGEST_NAME, NAME, PATTERNS, REPOSITORY, is_name
from selflong.recipe.site import Site
from selflong.recipe.weights import HubWeights
from selflong.recipe.wording import does_not_exist, shown
from selflong.scores import length_name
from selflong.suites.registry import section_of

Content = dict[str, Any]
"""A part of a recipe as its YAML has it."""

SEED = 17
REVISION = "main"
UNNAMED_REVISION = "None was named: give it as owner/name@revision to read the same files later."


@dataclass(frozen=True)
class NamedModel:
    """A model under its name in the recipe."""

    name: str
    entry: Content


@dataclass(frozen=True)
class RemoteModel:
    """How a model at an endpoint is counted and paid."""

    tokenizer: str
    """Hub model or folder."""
    context_tokens: int
    price: tuple[float, float] | None = None
    """USD per million tokens of prompts and of answers."""


@dataclass(frozen=True)
class Evaluation:
    """The files of an evaluation: its recipe, and what its site adds to config.yaml.

    Raises UserError where its name is no name of a recipe: it becomes a path before any recipe is read.
    """

    name: str
    folder: Path = Path("evaluations")

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise UserError(
                f"--name: {PATTERNS[NAME]}, {LONGEST_NAME} characters at most, not {shown(self.name)}"
            )

    @property
    def recipe(self) -> Path:
        return self.folder / f"{self.name}.yaml"

    @property
    def site(self) -> Path:
        return self.folder / f"{self.name}.site.yaml"

    def recipe_content(self) -> Content:
        """What was asked so far."""
        if self.recipe.exists():
            content: Content = read_yaml(self.recipe)
            return content
        return {
            "name": self.name,
            "description": "Models and suites that `selflong evaluate` was asked for.",
            "seed": SEED,
            "models": {},
            "suites": {},
        }

    def site_with(self, endpoints: Content) -> Content:
        """The site's part, with more endpoints."""
        before: Content = read_yaml(self.site) if self.site.exists() else {}
        found: Content = {"recipe": self.name, "recipes": str(self.folder.resolve())}
        together = {**before.get("endpoints", {}), **endpoints}
        return {**found, "endpoints": together} if together else found

    def write(self, recipe: Content, site: Content) -> None:
        """Write both files."""
        self.folder.mkdir(exist_ok=True)
        for content, path in ((recipe, self.recipe), (site, self.site)):
            stream = io.StringIO()
            yaml = YAML(typ="safe", pure=True)
            yaml.default_flow_style = False
            yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
            yaml.dump(content, stream)
            write_text(stream.getvalue(), path)


def load(path: Path) -> Content:
    """A catalogue, which is a right recipe."""
    if not path.is_file():
        raise UserError(f"--catalogue {path}: is no file")
    load_recipe(path)
    content: Content = read_yaml(path)
    return content


def with_context(model: NamedModel, site: Site) -> NamedModel:
    """The model with the most tokens that it reads as `supports`.

    A hub model's config.json is fetched, and kept for the plan. Raises UserError where it does not say so.
    """
    weights = model.entry["weights"]
    if weights["kind"] == "endpoint":
        supports = weights["context_tokens"]
    elif weights["kind"] == "folder":
        supports = checkpoint_context(Path(weights["path"]))
    else:
        supports = checkpoint_context(_configuration(HubWeights.model_validate(weights), site))
    return NamedModel(model.name, {**model.entry, "supports": supports})


def _configuration(weights: HubWeights, site: Site) -> Path:
    """Folder with the config.json of a hub model."""
    folder = configuration_folder(site.work, weights)
    if not (folder / CONFIG).is_file():
        download_files(
            weights.repository, weights.revision, CONFIG, folder, site.hub_token_variable, "model"
        )
    return folder


def named_model(text: str, remote: RemoteModel | None = None) -> NamedModel:
    """The entry of a folder, of a hub model `owner/name[@revision]`, or of a name at an endpoint."""
    label = text if remote or not _is_folder(text) else Path(text).resolve().name
    if remote is None:
        weights = weights_of(text)
    else:
        weights = {
            "kind": "endpoint",
            "model": text,
            "context_tokens": remote.context_tokens,
            "tokenizer": weights_of(remote.tokenizer),
        }
        if remote.price is not None:
            prompt, completion = remote.price
            weights["price"] = {"prompt": prompt, "completion": completion}
    name = re.sub(r"[^a-z0-9_.]+", "_", label.rpartition("/")[2].lower()).strip("_.")
    name = name[:LONGEST_NAME]
    if not name:
        raise UserError(f"{text}: no name for the recipe can be made of it; rename the folder")
    return NamedModel(name, {"label": label, "weights": weights})


def weights_of(text: str) -> Content:
    """A folder, or a hub model `owner/name[@revision]`; UserError where it is neither."""
    if _is_folder(text):
        return {"kind": "folder", "path": str(Path(text).resolve())}
    repository, _, revision = text.partition("@")
    if not re.fullmatch(REPOSITORY, repository):
        raise UserError(
            f"{text} is no folder, and no model of the hub, which is written owner/name or "
            "owner/name@revision; for a model at an endpoint add --endpoint URL"
        )
    found: Content = {"kind": "hub", "repository": repository, "revision": revision or REVISION}
    parse(HubWeights, found, text)
    return found if revision else {**found, "assumed": {"revision": UNNAMED_REVISION}}


def _is_folder(text: str) -> bool:
    return Path(text).is_dir()


def chosen_suites(
    catalogue: Content, suites: Sequence[str], lengths: Sequence[str], supports: int | None
) -> Content:
    """Suites of the catalogue at `lengths`, all that the model supports where none is named.

    Raises UserError for a suite or a length that the catalogue does not have, and for one beyond `supports`.
    """
    known = catalogue["suites"]
    found: Content = {}
    for name in suites or known:
        if name not in known:
            raise UserError(f"--suites: {does_not_exist(name, known)}")
        found[name] = _at(name, known[name], lengths, supports)
    return found


def _at(name: str, suite: Content, lengths: Sequence[str], supports: int | None) -> Content:
    held: list[int] = suite.get("lengths", [])
    if not held or section_of(suite["kind"]).lengths_of_answers:
        return suite
    wanted = list(dict.fromkeys(_length_of(name, held, text) for text in lengths))
    for length in wanted:
        if supports is not None and length > supports:
            raise UserError(
                f"--lengths: the model reads {supports:,} tokens, not {length:,}; ask for fewer"
            )
    kept = wanted or [length for length in held if supports is None or length <= supports]
    if not kept:
        raise UserError(
            f"--suites: {name} asks for at least {min(held):,} tokens; the model reads {supports:,}"
        )
    return _with_lengths(suite, sorted(kept), suite)


def _length_of(name: str, held: Sequence[int], text: str) -> int:
    """The length of a suite that is called `text`: 128k, 1M, 4096."""
    for length in held:
        if text.lower() in (str(length), length_name(length).lower()):
            return length
    raise UserError(
        f"--lengths: {text!r}: {name} has {', '.join(length_name(length) for length in held)}"
    )


def _with_lengths(suite: Content, lengths: Sequence[int], source: Content) -> Content:
    """The suite at `lengths`, with what a length has of its own in `source`."""
    given: Content = {"lengths": list(lengths)}
    if "samples" in suite and isinstance(suite["samples"], Mapping):
        both = {**source["samples"], **suite["samples"]}
        given["samples"] = {length: both[length] for length in lengths}
    return {**suite, **given}


def added(recipe: Content, model: NamedModel, suites: Content) -> Content:
    """The recipe with one more model that is asked `suites`; what the others are asked stays.

    Raises UserError where the name belongs to another model already.
    """
    known = recipe["models"].get(model.name)
    if known is not None and known["weights"] != model.entry["weights"]:
        raise UserError(
            f"--name {recipe['name']}: it has another model {model.name!r} already; give a new name"
        )
    together = dict(recipe["suites"])
    for name, suite in suites.items():
        together[name] = _asked_too(together.get(name), model.name, suite)
    return {
        **recipe,
        "models": {**recipe["models"], model.name: model.entry},
        "suites": together,
    }


def _asked_too(before: Content | None, model: str, suite: Content) -> Content:
    """A suite of the recipe, which asks one model more."""
    if before is None:
        return {**suite, "models": [model]}
    models = [*before["models"], *([] if model in before["models"] else [model])]
    if "lengths" not in before:
        return {**before, "models": models}
    asked = {name: before.get("lengths_of", {}).get(name, before["lengths"]) for name in models}
    mine = asked[model] if model in before["models"] else []
    asked[model] = sorted({*mine, *suite["lengths"]})
    lengths = sorted({length for some in asked.values() for length in some})
    found = {**_with_lengths(before, lengths, suite), "models": models}
    found.pop("lengths_of", None)
    fewer = {name: some for name, some in asked.items() if sorted(some) != lengths}
    return {**found, "lengths_of": fewer} if fewer else found
