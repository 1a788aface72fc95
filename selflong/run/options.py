"""A rule's named files as the options of its launcher."""

import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from selflong.recipe.section import DOT


def options(**values: Any) -> Callable[[Any, Any, Any], str]:
    """A rule's parameter with the options of its command: each named input and output, and `values`.

    A value is text with wildcards, or a function of the wildcards. Unnamed files are only waited for, and an
    option without a value is left out. Snakemake does not compare a parameter that is derived from input and
    output, so a folder that was moved runs nothing again.
    """

    def render(wildcards: Any, input: Any, output: Any) -> str:
        given = {name: _filled(value, wildcards) for name, value in values.items()}
        named = {**dict(input.items()), **dict(output.items()), **given}
        return " ".join(
            word
            for name, value in named.items()
            for word in _words("--" + name.replace("_", "-"), value)
        )

    return render


def _filled(value: Any, wildcards: Any) -> Any:
    if callable(value):
        return value(wildcards)
    return str(value).format(**dict(wildcards.items()))


def _words(option: str, value: object) -> Iterable[str]:
    """Quoted for the shell; a mapping is an option for each key, whose dots would be levels of it."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _words(f"{option}.{key.replace('.', DOT)}", item)
        return
    words = [value] if isinstance(value, str | int | float | Path) else list(value)  # type: ignore[call-overload]
    if words:
        yield option
        yield from (shlex.quote(str(word)) for word in words)
