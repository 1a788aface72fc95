"""Reading a recipe or a site: each mistake becomes one sentence: file, key and what is allowed."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from selflong.formats import digest
from selflong.job import UserError
from selflong.recipe.checks import mistakes
from selflong.recipe.reader import read_text, read_yaml
from selflong.recipe.recipe import Recipe
from selflong.recipe.section import PATTERNS, Section, is_name, sections_of
from selflong.recipe.site import RECIPES, Site
from selflong.recipe.wording import SHOWN, cut, does_not_exist, nearest, shown

OVERRIDES = "--config, --configfile or --site"
MOST_SAID = 20
"""Mistakes that are said at once: a screen."""
KINDS_OF_VALUES = {
    "dict_type": "must hold keys and values",
    "list_type": "must be a list",
    "model_attributes_type": "must hold keys and values",
    "model_type": "must hold keys and values",
    "path_type": "must be a path",
}
"""pydantic's errors whose own words are about Python."""

_INVISIBLE = "\ufeff\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""A byte order mark, and what turns the direction of the text behind it."""

T = TypeVar("T", bound=Section)
R = TypeVar("R")


def _place(location: tuple[str | int, ...], content: Any, missing: bool) -> str:
    """Where a mistake is, as a person would write it; `missing`: its last key is not in `content`.

    pydantic's location also names which kind of a union was meant and whether a key itself was wrong: what
    `content` does not hold.
    """
    place = ""
    for number, step in enumerate(location):
        if isinstance(content, dict):
            inside = step in content
        else:
            inside = isinstance(content, list) and isinstance(step, int)
        if inside:
            content = content[step]
        elif not (missing and number == len(location) - 1):
            continue
        key = cut(_visible(str(step)), SHOWN)
        place += f"[{step}]" if isinstance(step, int) else f".{key}" if place else key
    return place


def _visible(key: str) -> str:
    """A key in which nothing looks like what it is not: no key that exists leaves ASCII."""
    return key if key.isascii() and key.isprintable() else ascii(key)


def _allowed_keys(section: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """Keys of the section that holds the unknown key, where the types tell which one it is."""
    current: Any = section
    for step in location[:-1]:
        fields = getattr(current, "model_fields", None)
        if fields is not None and step in fields:
            current = fields[step].annotation
        candidates = list(sections_of(current))
        matching = [c for c in candidates if _discriminates(c, step)]
        if len(candidates) == 1 or matching:
            current = (matching or candidates)[0]
    return sorted(getattr(current, "model_fields", {}))


def _discriminates(section: type[BaseModel], step: str | int) -> bool:
    kind = section.model_fields.get("kind")
    return kind is not None and getattr(kind.annotation, "__args__", (None,))[0] == step


def _sentence(section: type[BaseModel], content: Any, error: Mapping[str, Any]) -> str:
    kind, location = error["type"], error["loc"]
    place = _place(location, content, kind == "missing") or "top level"
    if kind == "extra_forbidden":
        allowed = _allowed_keys(section, location)
        near = nearest(str(location[-1]), allowed)
        hint = f"did you mean {near!r}?" if near else f"allowed are {', '.join(allowed)}"
        return f"{place}: unknown key; {hint}"
    if kind == "missing":
        return f"{place}: is missing"
    if kind == "invalid_key" or (kind == "string_type" and location[-1] == "[key]"):
        return f"{place}: a key must be text; write it in quotes"
    if kind.startswith("union_tag"):
        return _kind_sentence(place, error)
    return f"{place}: {_value_sentence(error)}"


def _kind_sentence(place: str, error: Mapping[str, Any]) -> str:
    key = error["ctx"]["discriminator"].strip("'")
    if error["type"] == "union_tag_not_found":
        return f"{place}: its key {key!r} is missing"
    known = re.findall(r"'([^']*)'", error["ctx"]["expected_tags"])
    return f"{place}.{key}: {does_not_exist(error['ctx']['tag'], known)}"


def _value_sentence(error: Mapping[str, Any]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error":
        return str(error["msg"].removeprefix("Value error, "))
    message = PATTERNS.get(context.get("pattern", ""), KINDS_OF_VALUES.get(kind, error["msg"]))
    if error["loc"][-1:] == ("[key]",):
        return message
    near = None
    if kind == "literal_error":
        near = nearest(str(error["input"]), re.findall(r"'([^']*)'", context["expected"]))
    return f"{message}, not {shown(error['input'])}" + (f"; did you mean {near!r}?" if near else "")


def _is_given(location: tuple[str | int, ...], content: Any, given: Any) -> bool:
    """Whether what stands at `location` of `content` came with `given`."""
    found = False
    for step in location:
        if isinstance(content, dict) and isinstance(given, Mapping) and step in content:
            if step not in given:
                return False
            given, content, found = given[step], content[step], True
    return found


def _unprintable(value: Any, place: str = "") -> Iterator[str]:
    """Sentences for text that no file name, table or terminal can hold."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _unprintable(key, place)
            yield from _unprintable(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _unprintable(item, f"{place}[{number}]")
    elif isinstance(value, str):
        for character in value:
            if character not in "\n\t" and (
                unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
                or character in _INVISIBLE
            ):
                yield f"{place or 'a key'}: holds the character U+{ord(character):04X}; remove it"
                return


def parse(
    section: type[T], content: dict[str, Any], path: str, given: Mapping[str, Any] | None = None
) -> T:
    """`content` as a typed section; UserError with a sentence for each mistake, a screen at most.

    What is wrong in `given`, the part of it that came with Snakemake's options, is not blamed on the file.
    """
    refuse(f"{path}: {mistake}" for mistake in _unprintable(content))
    try:
        return section.model_validate(content)
    except ValidationError as error:
        sentences = (
            f"{OVERRIDES if _is_given(mistake['loc'], content, given) else path}: "
            f"{_sentence(section, content, mistake)}"
            for mistake in _told_apart(error.errors(include_url=False))
        )
        raise UserError(_screen(sentences)) from None


def refuse(sentences: Iterable[str]) -> None:
    """UserError with the sentences, each once, a screen at most; nothing where there are none."""
    if said := _screen(sentences):
        raise UserError(said)


def _screen(sentences: Iterable[str]) -> str:
    """The first MOST_SAID different sentences, a line each; no more are made."""
    found: dict[str, None] = {}
    for sentence in sentences:
        found[sentence] = None
        if len(found) == MOST_SAID:
            break
    return "\n".join(found)


def _told_apart(errors: Sequence[Any]) -> Iterator[Any]:
    """One of several errors about one mistake, the unknown keys first.

    A misspelt key is both unknown and missing: the unknown one tells where the mistake is. What may be of
    several kinds is none of them: the first of its errors stands for all.
    """
    unknown = [error for error in errors if error["type"] == "extra_forbidden"]
    sections = {error["loc"][:-1] for error in unknown}
    said: list[tuple[int | str, ...]] = []
    for error in [*unknown, *(error for error in errors if error["type"] != "extra_forbidden")]:
        missing = error["type"] == "missing" and error["loc"][:-1] in sections
        kinds = [place for place in said if place[:-1] == error["loc"][:-1] != ()]
        if not missing and not (kinds and _names_a_type(error["loc"][-1])):
            said.append(error["loc"])
            yield error


def _names_a_type(step: int | str) -> bool:
    """Whether the last step of a pydantic location is a member of a union rather than a key."""
    return (
        isinstance(step, str)
        and re.match(r"(?:int|float|str|bool|list|dict|literal|function|\w*\[)", step) is not None
    )


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe: a YAML file named as the recipe is, or the JSON copy that a run makes."""
    _check_copy(path)
    recipe = checked_recipe(read_yaml(path), str(path))
    if path.suffix == ".yaml" and recipe.name != path.stem:
        raise UserError(f"{path}: name: must be {path.stem!r} as the file is, not {recipe.name!r}")
    return recipe


def checked_recipe(content: dict[str, Any], path: str) -> Recipe:
    """The content of a recipe's file, checked; UserError with what is wrong in it."""
    recipe = parse(Recipe, content, path)
    refuse(f"{path}: {mistake}" for mistake in mistakes(recipe))
    return recipe


def load_site(path: Path) -> Site:
    """Read and check a site."""
    _check_copy(path)
    return parse(Site, read_yaml(path), str(path))


def _check_copy(path: Path) -> None:
    """UserError where a run's copy of a recipe or of a site is not what its name says."""
    named = re.fullmatch(r"(?:recipe|site)-([0-9a-f]{16})\.json", path.name)
    if named is not None and digest(read_text(path).removesuffix("\n")) != named[1]:
        raise UserError(
            f"{path} was changed after the run began: start Snakemake again, which writes it anew"
        )


def load_run(path: Path, given: Mapping[str, Any]) -> tuple[Recipe, Site]:
    """The site at `path` with what Snakemake's --config and --configfile give, and the recipe that it names.

    A section that is given changes the site's keys that it names; one of another kind takes its place.
    """
    if not path.exists() and not given:
        raise UserError(
            f"{path} does not exist in {Path.cwd()}: start where it lies, or name a site with --configfile"
        )
    content, together, name = _site_content(path, [given])
    found: list[str] = []
    site = _noted(lambda: parse(Site, content, name, together), found)
    recipe = _noted(lambda: _named_recipe(content, path, given), found)
    if site is None or recipe is None:
        raise UserError(_screen(found))
    return recipe, site


def _noted(read: Callable[[], R], found: list[str]) -> R | None:
    """What `read` gives; None where it raises UserError, whose sentences are added to `found`."""
    try:
        return read()
    except UserError as mistake:
        found += str(mistake).splitlines()
        return None


def _named_recipe(content: Any, path: Path, given: Mapping[str, Any]) -> Recipe | None:
    """The recipe that a site names; None where the site's own sentences say that it names none."""
    name, folder = content.get("recipe"), content.get("recipes", str(RECIPES))
    if not all(isinstance(text, str) and text.isprintable() for text in (name, folder)):
        return None
    if not is_name(name):
        return None
    file = Path(folder) / f"{name}.yaml"
    blamed = OVERRIDES if given.keys() & {"recipe", "recipes"} else str(path)
    try:
        is_there = file.exists()
    except OSError as error:
        raise UserError(f"{blamed}: recipes: {shown(folder)}: {error.strerror}") from None
    if not is_there:
        known = [file.stem for file in Path(folder).glob("*.yaml") if file.is_file()]
        raise UserError(f"{blamed}: recipe: {does_not_exist(name, known)} (in {folder}/)")
    return load_recipe(file)


def merged_site(path: Path, given: Sequence[Mapping[str, Any]]) -> Site:
    """The site at `path`, if there is one, with each of `given` on top of what is before it."""
    content, together, name = _site_content(path, given)
    return parse(Site, content, name, together)


def _site_content(path: Path, given: Sequence[Mapping[str, Any]]) -> tuple[Any, Any, str]:
    """What a site is made of, the part of it that was given, and how sentences name its file."""
    content: Any = read_yaml(path) if path.exists() else {}
    together: Any = {}
    for more in given:
        content, together = _merged(content, more), _merged(together, more)
    name = str(path) if path.exists() else f"{path} (there is none in {Path.cwd()})"
    for given_by, keys in ((OVERRIDES, together), (name, content)):
        _refuse_a_recipe(keys, given_by)
    return content, together, name


def _refuse_a_recipe(content: Any, path: str) -> None:
    """UserError where what stands for a site has keys that only a recipe has."""
    alien = [key for key in content if key in Recipe.model_fields and key not in Site.model_fields]
    if alien:
        raise UserError(
            f"{path}: {', '.join(alien)}: a recipe has {'this key' if len(alien) == 1 else 'these keys'}, no "
            "site: write the recipe's file into the folder recipes/ and name it with --config recipe=NAME"
        )


def _merged(content: Any, given: Any) -> Any:
    both = isinstance(content, dict) and isinstance(given, Mapping)
    if not both or given.get("kind", content.get("kind")) != content.get("kind"):
        return given
    return content | {
        key: _merged(content[key], value) if key in content else value
        for key, value in given.items()
    }
