"""Reading a recipe or a site: each mistake becomes one sentence: file, key and what is allowed."""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from selflong.job import UserError
from selflong.recipe.checks import mistakes
from selflong.recipe.recipe import Recipe
from selflong.recipe.section import Section
from selflong.recipe.site import Site

MERGE_TAG = "tag:yaml.org,2002:merge"


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that stands twice; reads 1e-5 as a number, which YAML 1.1 does not."""


def _unique_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = set()
    for key_node, _ in node.value:
        if key_node.tag == MERGE_TAG:
            continue
        key = loader.construct_object(key_node, deep=True)
        if key in keys:
            mark = key_node.start_mark
            raise UserError(
                f"{mark.name}: key {key!r} in line {mark.line + 1} stands twice: remove one of them"
            )
        keys.add(key)
    # What a merge key (<<) brings comes first, so that the mapping's own keys win.
    loader.flatten_mapping(node)
    return {
        loader.construct_object(key_node, deep=True): loader.construct_object(value_node, deep=True)
        for key_node, value_node in node.value
    }


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)
_UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as a dictionary; UserError where it is missing or malformed."""
    if not path.exists():
        raise UserError(f"{path} does not exist")
    try:
        text = path.read_text()
        loader = _UniqueKeyLoader(text)
    except (UnicodeDecodeError, yaml.reader.ReaderError):
        raise UserError(f"{path}: not a text file in UTF-8") from None
    loader.name = str(path)
    try:
        content = loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" in line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}: not YAML{line}: {error.problem}") from None
    finally:
        loader.dispose()
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold keys and values")
    return content


T = TypeVar("T", bound=Section)


def _place(location: tuple[str | int, ...], content: Any, missing: bool) -> str:
    """Where a mistake is, as a person would write it; `missing`: its last key is not in `content`.

    pydantic's location also names which kind of a union was meant and whether a key itself was wrong: what
    `content` does not hold.
    """
    place = ""
    for number, step in enumerate(location):
        inside = step in content if isinstance(content, dict) else isinstance(content, list)
        if inside:
            content = content[step]
        elif not (missing and number == len(location) - 1):
            continue
        place += f"[{step}]" if isinstance(step, int) else f".{step}" if place else str(step)
    return place


def _allowed_keys(section: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """Keys of the section that holds the unknown key, where the types tell which one it is."""
    current: Any = section
    for step in location[:-1]:
        fields = getattr(current, "model_fields", None)
        if fields is not None and step in fields:
            current = fields[step].annotation
        candidates = list(_sections(current))
        matching = [c for c in candidates if _discriminates(c, step)]
        if len(candidates) == 1 or matching:
            current = (matching or candidates)[0]
    return sorted(getattr(current, "model_fields", {}))


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _sections(argument)


def _discriminates(section: type[BaseModel], step: str | int) -> bool:
    kind = section.model_fields.get("kind")
    return kind is not None and getattr(kind.annotation, "__args__", (None,))[0] == step


NAME_RULE = "a name begins with a lower-case letter or a digit and holds only those, '_' and '.'"


def _sentence(path: str, section: type[BaseModel], content: Any, error: ValidationError) -> str:
    # A misspelt key is both unknown and missing: the unknown one tells where the mistake is.
    errors = error.errors(include_url=False)
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    kind, context = first["type"], first.get("ctx", {})
    place = _place(first["loc"], content, kind == "missing") or "top level"
    if kind == "extra_forbidden":
        allowed = _allowed_keys(section, first["loc"])
        near = difflib.get_close_matches(str(first["loc"][-1]), allowed, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"allowed are {', '.join(allowed)}"
        return f"{path}: {place}: unknown key; {hint}"
    if kind == "missing":
        return f"{path}: {place}: is missing"
    if kind == "union_tag_not_found":
        return f"{path}: {place}: its key {context['discriminator']} is missing"
    if kind == "union_tag_invalid":
        known = ", ".join(sorted(re.findall(r"'([^']*)'", context["expected_tags"])))
        key = context["discriminator"].strip("'")
        return f"{path}: {place}.{key}: {context['tag']!r} does not exist; there are {known}"
    if kind == "string_pattern_mismatch" and first["loc"][-1] == "[key]":
        return f"{path}: {place}: {NAME_RULE}"
    message = first["msg"].removeprefix("Value error, ")
    given = "" if kind == "value_error" else f", not {first['input']!r}"
    return f"{path}: {place}: {message}{given}"


def parse(section: type[T], content: dict[str, Any], path: str) -> T:
    """`content` as a typed section; UserError with one sentence for the first mistake."""
    try:
        return section.model_validate(content)
    except ValidationError as error:
        raise UserError(_sentence(path, section, content, error)) from None


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe: a YAML file named as the recipe is, or the JSON copy that a run makes."""
    recipe = parse(Recipe, read_yaml(path), str(path))
    if path.suffix == ".yaml" and recipe.name != path.stem:
        raise UserError(f"{path}: name: must be {path.stem!r} as the file is, not {recipe.name!r}")
    for mistake in mistakes(recipe):
        raise UserError(f"{path}: {mistake}")
    return recipe


def load_site(path: Path) -> Site:
    """Read and check a site."""
    return parse(Site, read_yaml(path), str(path))
