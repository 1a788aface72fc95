"""YAML 1.2 as plain values; whatever is wrong in the text becomes one sentence with file and line."""

import json
import stat
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, MaxDepthExceededError
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from selflong.job import UserError
from selflong.recipe.wording import cut, shown

DEEPEST = 40
"""Levels of lists and mappings, aliases followed."""
LARGEST = 100_000
"""Values, aliases followed: a few lines of aliases of aliases can stand for billions."""
LARGEST_BYTES = 250_000
"""Of a file in YAML: five times the longest recipe of a paper, and read in a second."""
_NOT_PLAIN = frozenset({"binary", "omap", "pairs", "set"})
"""Tags of YAML 1.1 for what no setting is; the items of a set have no order, nor would a digest of them."""

_MERGE = "tag:yaml.org,2002:merge"


class _Refused(MarkedYAMLError):
    """YAML by its grammar that is no recipe and no site."""

    def __init__(self, node: Node, problem: str) -> None:
        super().__init__(problem=problem, problem_mark=node.start_mark)


class _Composer(Composer):
    """Refuses aliases that lead back to themselves or stand for more than LARGEST values."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader=loader)
        self.warn_double_anchors = False
        self._extents: dict[int, tuple[int, int]] = {}
        self._values = 0

    def return_alias(self, node: Node) -> Node:
        if not isinstance(node, ScalarNode) and node.end_mark is None:
            raise _Refused(node, "what is anchored in line {line} holds itself")
        values, levels = self._extent(node)
        self._values += values
        if self._values > LARGEST or levels > DEEPEST:
            raise _Refused(node, "aliases of what is anchored in line {line} stand for too much")
        return node

    def _extent(self, node: Node) -> tuple[int, int]:
        """Values and levels below a node that is complete."""
        if id(node) not in self._extents:
            inner = [] if isinstance(node, ScalarNode) else node.value
            if isinstance(node, MappingNode):
                inner = [part for pair in inner for part in pair]
            extents = [self._extent(part) for part in inner]
            self._extents[id(node)] = (
                1 + sum(values for values, _ in extents),
                1 + max((levels for _, levels in extents), default=0),
            )
        return self._extents[id(node)]


class _Constructor(SafeConstructor):
    """Refuses a key that stands twice or is a list or a mapping, and a value that its tag does not fit."""

    def flatten_mapping(self, node: MappingNode) -> None:
        # A mapping whose merge key (<<) is resolved rightly holds a key twice: the merged one and its own.
        if getattr(node, "merge", None) is None:
            self._check_keys(node)
        super().flatten_mapping(node)

    def _check_keys(self, node: MappingNode) -> None:
        keys = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, ScalarNode):
                raise _Refused(
                    key_node,
                    "a key in line {line} is a list or a mapping: text that begins with [ or { needs quotes",
                )
            if str(key_node.tag) == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if key in keys:
                raise _Refused(
                    key_node, f"key {shown(key)} in line {{line}} stands twice: remove one of them"
                )
            keys.add(key)

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        kind = str(node.tag).rpartition(":")[2]
        if kind in _NOT_PLAIN:
            raise _Refused(
                node, f"!!{kind} in line {{line}}: give text, a number, a list, or keys and values"
            )
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            raise _Refused(
                node, f"{shown(node.value)} in line {{line}} cannot be read as {kind}"
            ) from None

    def construct_yaml_timestamp(self, node: Node, values: Any = None) -> str:
        """A date as it is written: no setting is a date."""
        super().construct_yaml_timestamp(node, values)
        return str(node.value)


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", _Constructor.construct_yaml_timestamp)


def read_text(path: Path) -> str:
    """A text file that the user names; UserError where it cannot be read."""
    try:
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            # Of a pipe that nobody writes to nothing ever comes.
            raise UserError(f"{path}: is a pipe or a device; name a file")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file, or one of a run's copies in JSON, as a dictionary; UserError where it is malformed."""
    text = read_text(path)
    content = _json(text, path) if path.suffix == ".json" else _yaml(text, path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold keys and values")
    return content


def _json(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except (RecursionError, ValueError) as error:
        raise UserError(f"{path}: not JSON: {error}") from None


def _yaml(text: str, path: Path) -> Any:
    if len(text) > LARGEST_BYTES:
        raise UserError(
            f"{path}: is longer than {LARGEST_BYTES:,} characters; is it the right file?"
        )
    loader = YAML(typ="safe", pure=True)
    loader.max_depth = DEEPEST
    loader.Composer, loader.Constructor = _Composer, _Constructor
    try:
        return loader.load(text)
    except MarkedYAMLError as error:
        raise UserError(f"{path}: {_sentence(error)}") from None
    except (OverflowError, ValueError):
        raise UserError(f"{path}: not YAML: an escape names no character") from None
    except YAMLError:
        raise UserError(f"{path}: not a text file in UTF-8") from None


def _sentence(error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else "?"
    if isinstance(error, _Refused):
        return str(error.problem).replace("{line}", str(line))
    if isinstance(error, MaxDepthExceededError):
        return f"line {line} lies more than {DEEPEST} levels deep"
    return f"not YAML in line {line}: {cut(' '.join(str(error.problem).split()), 120)}"
