"""What the launchers under scripts/ share: options from a function's own signature, recipe and site."""

# ruff: noqa: E402
from selflong.interrupt import end_at_once

# Ctrl-C comes while a script still imports what its job needs, too: each imports this module first.
end_at_once()

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import cyclopts

from selflong.cluster import within_time_limit
from selflong.integrity import check_inputs
from selflong.job import UserError, run
from selflong.recipe.loading import load_recipe, load_site
from selflong.recipe.recipe import Recipe
from selflong.recipe.section import DOT
from selflong.recipe.wording import does_not_exist

CONFIGURATION: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "recipe": (load_recipe, "SELFLONG_RECIPE", "recipes/laptop.yaml"),
    "site": (load_site, "SELFLONG_SITE", "config.yaml"),
}
"""Option -> how its file is read, the variable that names the copy that the run was started with, the file
outside of a run."""

NAMED: dict[str, Callable[[Recipe], Iterable[str]]] = {
    "corpus": lambda recipe: recipe.corpora,
    "encoder": lambda recipe: recipe.encoders,
    "generator": lambda recipe: recipe.generators,
    "generator_name": lambda recipe: recipe.generators,
    "mixture_name": lambda recipe: recipe.mixtures,
    "model": lambda recipe: recipe.models,
    "checkpoint": lambda recipe: recipe.checkpoints(),
    "suite": lambda recipe: recipe.suites,
}
"""Option -> what of a recipe it names, where it is text."""


def launch(
    function: Callable[..., object], *, resumes: bool = False, **given: Callable[..., Any]
) -> None:
    """Run a function with the command line's options, which are its own parameters.

    given: parameter -> a function that makes its value, as a part of the recipe. The parameters of that
    function become options in the parameter's place; where it gives a context manager, the block is the
    function's run. `recipe` and `site` are read from files, wherever a function asks for them.
    resumes: near SLURM's time limit the job is interrupted, and queued again.
    """
    app = parser(function, given)

    def parsed() -> None:
        app(sys.argv[1:])

    def within() -> None:
        with within_time_limit():
            parsed()

    run(within if resumes else parsed)


def parser(function: Callable[..., object], given: dict[str, Callable[..., Any]]) -> cyclopts.App:
    """Reads a command line and calls the function."""
    app = cyclopts.App(
        help=sys.modules["__main__"].__doc__,
        version_flags=[],
        default_parameter=cyclopts.Parameter(consume_multiple=True, negative=()),
        result_action="return_value",
        suppress_keyboard_interrupt=False,  # it would end without a word
    )
    app.default(_Arguments(function, given).command())
    return app


class _Arguments:
    """The options of a function whose other parameters are given."""

    def __init__(
        self, function: Callable[..., object], given: dict[str, Callable[..., Any]]
    ) -> None:
        self.function, self.given = function, given
        self.names = {
            called: list(inspect.signature(called).parameters)
            for called in (function, *given.values())
        }

    def options(self) -> list[inspect.Parameter]:
        found: dict[str, inspect.Parameter] = {}
        for called in self.names:
            for name, parameter in inspect.signature(called).parameters.items():
                if called is not self.function or name not in self.given:
                    found.setdefault(name, _option(parameter, called))
        return list(found.values())

    def command(self) -> Callable[..., object]:
        """What the parser calls."""

        parameters = self.options()
        unless_given = {
            option.name: option.default
            for option in parameters
            if option.default is not inspect.Parameter.empty
        }

        def command(**given: Any) -> object:
            options = unless_given | given
            for name, value in options.items():
                if name in CONFIGURATION:
                    options[name] = CONFIGURATION[name][0](value)
                elif isinstance(value, dict):
                    options[name] = {key.replace(DOT, "."): item for key, item in value.items()}
            _check_names(options)
            with ExitStack() as stack:
                made = {name: self._call(maker, options) for name, maker in self.given.items()}
                for name, value in made.items():
                    if isinstance(value, AbstractContextManager):
                        made[name] = stack.enter_context(value)
                check_inputs(_inputs(options))
                return self._call(self.function, options | made)

        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {option.name: option.annotation for option in parameters}
        command.__doc__ = self.function.__doc__
        return command

    def _call(self, called: Callable[..., Any], values: dict[str, Any]) -> Any:
        return called(**{name: values[name] for name in self.names[called]})


def named(option: str, name: str, known: Iterable[str]) -> str:
    """The name; UserError where nothing has it."""
    if name not in (names := set(known)):
        raise UserError(f"--{option}: {does_not_exist(name, names)}")
    return name


def _check_names(options: dict[str, Any]) -> None:
    recipe = options.get("recipe")
    if isinstance(recipe, Recipe):
        for option, known in NAMED.items():
            if isinstance(name := options.get(option), str):
                named(option.replace("_", "-"), name, known(recipe))


def _inputs(options: dict[str, Any]) -> Iterator[Path]:
    """The paths of options that name what is there already, outputs of an earlier run among them."""
    for name, value in options.items():
        if name in CONFIGURATION or name in ("work", "output"):
            continue
        items = value.values() if isinstance(value, dict) else [value]
        for item in items:
            paths = item if isinstance(item, list | tuple) else [item]
            yield from (path for path in paths if isinstance(path, Path) and path.exists())


def _option(parameter: inspect.Parameter, called: Callable[..., object]) -> inspect.Parameter:
    """A parameter as an option; one without a type, as a lambda's, is text."""
    annotation, default = parameter.annotation, parameter.default
    if parameter.name in CONFIGURATION:
        _, variable, outside = CONFIGURATION[parameter.name]
        annotation, default = Path, Path(os.environ.get(variable, outside))
    elif annotation is inspect.Parameter.empty:
        annotation = str
    elif isinstance(annotation, str):
        annotation = eval(annotation, inspect.unwrap(called).__globals__)
    kind = inspect.Parameter.KEYWORD_ONLY
    return parameter.replace(kind=kind, annotation=annotation, default=default)
