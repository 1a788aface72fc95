"""The command `selflong`: make a workspace, look at recipes, start one, or evaluate a model."""

# ruff: noqa: E402
from selflong.interrupt import end_at_once

# Nothing that it does has to be put away: what it began goes on when it is started again.
end_at_once()

import argparse
import io
import math
import os
import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from selflong.job import UserError, disk_errors_as_sentences, end_with
from selflong.recipe.loading import OVERRIDES, load_recipe, load_run, load_site, parse
from selflong.recipe.section import OWNER, is_name
from selflong.recipe.site import RemoteServing
from selflong.recipe.wording import shown
from selflong.root import ROOT
from selflong.workspace import install_data, make_workspace, missing_data

if TYPE_CHECKING:
    from selflong.catalogue import RemoteModel
    from selflong.recipe.recipe import Recipe
    from selflong.recipe.site import Site

CATALOGUE = ROOT / "recipes" / "evaluate.yaml"


def main() -> None:
    """Run the command; a mistake of the user is one sentence and exit code 2."""
    parser = argparse.ArgumentParser(prog="selflong", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    init = commands.add_parser("init", help="make a folder in which `snakemake` runs the workflow")
    init.add_argument("folder", nargs="?", type=Path, default=Path(), metavar="FOLDER")
    init.add_argument(
        "--no-data", action="store_true", help="do not install the data of the recipe laptop"
    )
    init.set_defaults(command=_init)
    validate = commands.add_parser("validate", help="read recipes, and the site where it is named")
    validate.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE.yaml")
    validate.add_argument("--site", type=Path, metavar="config.yaml")
    validate.set_defaults(command=_validate)
    of_snakemake = "Further options are Snakemake's own."
    run = commands.add_parser("run", help="run a recipe with Snakemake", epilog=of_snakemake)
    run.add_argument("recipe", help="its name, as in recipes/NAME.yaml")
    run.add_argument("--site", type=Path, metavar="FILE", help="on top of config.yaml")
    run.add_argument(
        "--config", "-C", nargs="*", action="extend", default=[], metavar="KEY=VALUE",
        help="settings of the site",
    )  # fmt: skip
    run.set_defaults(command=_run)
    evaluation = "evaluate a model on suites of recipes/evaluate.yaml"
    _add_evaluate(commands.add_parser("evaluate", help=evaluation, epilog=of_snakemake))
    state = commands.add_parser("status", help="where a run stands, while it runs too")
    state.add_argument("--site", type=Path, default=Path("config.yaml"), metavar="FILE")
    state.add_argument("--recipe", help="its name, where not the site's")
    state.set_defaults(command=_status)
    publish = commands.add_parser("publish", help="give a finished run to the Hugging Face hub")
    publish.add_argument("owner", help="user or organisation of the hub")
    publish.add_argument("--parts", type=_words, default=["data", "models", "evaluation"])
    publish.add_argument("--site", type=Path, default=Path("config.yaml"), metavar="FILE")
    publish.add_argument("--recipe", help="its name, where not the site's")
    publish.add_argument(
        "--public", action="store_true", help="new repositories are private without"
    )
    publish.add_argument(
        "--dry-run", action="store_true", help="list files and sizes, send nothing"
    )
    publish.set_defaults(command=_publish)
    arguments, others = parser.parse_known_args()
    if others and arguments.command not in (_run, _evaluate):
        parser.error(f"unknown: {' '.join(others)}")
    try:
        with disk_errors_as_sentences():
            arguments.command(arguments, others)
    except UserError as mistake:
        end_with(mistake)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="a folder, owner/name[@revision], or a name at --endpoint")
    add("--suites", type=_words, required=True, help="their names, with commas between")
    add("--catalogue", type=Path, default=CATALOGUE, metavar="FILE", help="recipe with the suites")
    add("--lengths", type=_words, default=[], help="such as 128k,1m; without it all that it reads")
    add("--name", default="evaluation", help="of the recipe that keeps the models asked so far")
    add("--site", type=Path, metavar="FILE", help="on top of config.yaml")
    add("--plan", action="store_true", help="say what it takes, and stop")
    add("--yes", action="store_true", help="spend the money that it takes")
    add("--endpoint", metavar="URL", help="where MODEL answers in OpenAI's protocol")
    add("--api-key-variable", metavar="NAME", default="OPENAI_API_KEY", help="with the key of it")
    add("--tokenizer", help="folder or hub model that counts the tokens of an endpoint's prompts")
    add("--context-tokens", type=_count, help="most tokens that the endpoint's model reads")
    add("--price", type=_price, metavar="P,A", help="USD per million tokens of prompts and answers")
    parser.set_defaults(command=_evaluate)


def _words(text: str) -> list[str]:
    words = dict.fromkeys(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise argparse.ArgumentTypeError(
            "names nothing: give names with commas between, or leave it out"
        )
    return list(words)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number above zero, not {shown(text)}")
    return int(text)


def _price(text: str) -> tuple[float, float]:
    try:
        prompt, answer = map(float, text.split(","))
    except ValueError:
        prompt = answer = math.nan
    if not (0 <= prompt < math.inf and 0 <= answer < math.inf):
        raise argparse.ArgumentTypeError(f"must be two prices such as 2.5,10, not {shown(text)}")
    return prompt, answer


def _init(arguments: argparse.Namespace, _: list[str]) -> None:
    made = make_workspace(arguments.folder)
    print(f"wrote {', '.join(map(str, made))}" if made else "everything is there already")
    if not arguments.no_data and (missing := missing_data()):
        print(f"installing the data of the recipe laptop: {', '.join(missing)}", flush=True)
        install_data(missing)
    here = "" if arguments.folder == Path() else f"cd {shlex.quote(str(arguments.folder))} && "
    print(f"now: {here}snakemake")


def _validate(arguments: argparse.Namespace, _: list[str]) -> None:
    site = None if arguments.site is None else load_site(arguments.site)
    for path in arguments.recipes:
        recipe = load_recipe(path)
        if site is not None:
            _check_together(recipe, site.model_copy(update={"recipes": path.parent}))
        print(f"{path}: right")
    if site is not None:
        print(f"{arguments.site}: right")


def _check_together(recipe: "Recipe", site: "Site") -> None:
    """UserError with what no machine can run; what this one lacks is only noted."""
    from selflong.run.readiness import lacking, uses_of_recipe
    from selflong.run.run import checked_run

    checked_run(recipe, site)
    for sentence in lacking(recipe, site, uses_of_recipe(recipe)):
        print(f"Before it runs: {sentence}", file=sys.stderr)


def _run(arguments: argparse.Namespace, others: list[str]) -> None:
    _refuse_configfile(others)
    recipe = arguments.recipe
    if not is_name(recipe):
        name = Path(recipe).stem
        hint = f": its name alone, {name}" if is_name(name) else ""
        raise UserError(
            f"{shown(recipe)} is no name of a recipe; give NAME of recipes/NAME.yaml{hint}"
        )
    site = ["--configfile", str(arguments.site)] if _is_site(arguments.site) else []
    # Of several --config Snakemake heeds the last one alone.
    _snakemake(["--config", *arguments.config, f"recipe={recipe}", *site], others)


def _is_site(site: Path | None) -> bool:
    """Whether one is named; UserError where it is no file."""
    if site is not None and not site.is_file():
        raise UserError(f"--site {site}: is no file")
    return site is not None


def _snakemake(options: Sequence[str], others: Sequence[str]) -> NoReturn:
    """Become Snakemake, with `others` as the user gave them."""
    start = [sys.executable, "-m", "selflong.snakemake", "--snakefile", str(ROOT / "Snakefile")]
    os.execv(sys.executable, [*start, *options, *others])


def _refuse_configfile(others: Sequence[str]) -> None:
    for word in others:
        option = word.partition("=")[0]
        if option.startswith("--configf"):
            raise UserError(f"{option}: it would take the place of the command's own; give --site")


def _check_others(others: Sequence[str]) -> None:
    """UserError where Snakemake does not know an option, said before anything is written."""
    _refuse_configfile(others)
    from snakemake.cli import get_argument_parser

    said = io.StringIO()
    try:
        with redirect_stderr(said):
            get_argument_parser().parse_args(others)
    except SystemExit as end:
        if end.code:
            raise UserError(
                f"Snakemake: {said.getvalue().strip().rpartition('error: ')[2]}"
            ) from None


# ---------------------------------------------------------------------------------------- evaluate


def _evaluate(arguments: argparse.Namespace, others: list[str]) -> None:
    _check_others(others)
    # What these import takes seconds, which the other commands do not wait for.
    from selflong import catalogue
    from selflong.estimate.cost import cost_of_model
    from selflong.recipe.loading import checked_recipe, merged_site
    from selflong.recipe.reader import read_yaml
    from selflong.run.run import checked_run

    given = [] if Path("config.yaml").is_file() else [ROOT / "config.yaml"]
    given += [arguments.site] if _is_site(arguments.site) else []
    files = catalogue.Evaluation(arguments.name)
    model = catalogue.named_model(arguments.model, _remote(arguments))
    endpoints = {model.name: _endpoint(arguments)} if arguments.endpoint else {}
    site_content = files.site_with(endpoints)
    site = merged_site(Path("config.yaml"), [*map(read_yaml, given), site_content])
    model = catalogue.with_context(model, site)
    suites = catalogue.chosen_suites(
        catalogue.load(arguments.catalogue),
        arguments.suites,
        arguments.lengths,
        model.entry["supports"],
    )
    content = catalogue.added(files.recipe_content(), model, suites)
    run = checked_run(checked_recipe(content, str(files.recipe)), site)
    cost = cost_of_model(run.recipe, run.site, model.name, list(suites))
    print(f"{', '.join(suites)} of {model.entry['label']}: {cost}", flush=True)
    if arguments.plan:
        return
    if cost.usd and not arguments.yes:
        raise UserError(f"it takes about {cost.usd:,.2f} USD: add --yes to spend them")
    files.write(content, site_content)
    configuration = [str(path) for path in (*given, files.site)]
    _snakemake(["--configfile", *configuration], others)


def _remote(arguments: argparse.Namespace) -> "RemoteModel | None":
    from selflong.catalogue import RemoteModel

    if arguments.endpoint is None:
        return None
    if arguments.tokenizer is None or arguments.context_tokens is None:
        raise UserError(
            "--endpoint: say with --context-tokens how much the model reads, and with --tokenizer whose "
            "tokens count its prompts: its own, where that is public"
        )
    return RemoteModel(arguments.tokenizer, arguments.context_tokens, arguments.price)


def _endpoint(arguments: argparse.Namespace) -> dict[str, Any]:
    variable = arguments.api_key_variable
    content = {"kind": "remote", "url": arguments.endpoint, "api_key_variable": variable}
    parse(RemoteServing, content, "--endpoint")
    return content


def _recipe_and_site(arguments: argparse.Namespace) -> tuple["Recipe", "Site"]:
    """As status and publish name them."""
    given = {} if arguments.recipe is None else {"recipe": arguments.recipe}
    try:
        return load_run(arguments.site, given)
    except UserError as mistake:
        raise UserError(str(mistake).replace(f"{OVERRIDES}: recipe", "--recipe")) from None


# ------------------------------------------------------------------------------------------ status


def _status(arguments: argparse.Namespace, _: list[str]) -> None:
    # It imports what plans a run, which the other commands do not wait for.
    from selflong.results import results_of
    from selflong.status import status

    recipe, site = _recipe_and_site(arguments)
    for line in status(recipe, site, results_of(recipe, site)):
        print(line)


# ----------------------------------------------------------------------------------------- publish


def _publish(arguments: argparse.Namespace, _: list[str]) -> None:
    if not re.fullmatch(OWNER, arguments.owner):
        raise UserError(f"{shown(arguments.owner)} is no user or organisation of the hub")
    # It imports what draws tables, which the other commands do not wait for.
    from selflong.publish.contents import PARTS, Publisher
    from selflong.publish.upload import upload
    from selflong.results import results_of

    if unknown := set(arguments.parts) - set(PARTS):
        raise UserError(f"--parts: {sorted(unknown)[0]!r} is none of {', '.join(PARTS)}")
    recipe, site = _recipe_and_site(arguments)
    results, folder = results_of(recipe, site), site.work / recipe.name / "publish"
    made = Publisher(recipe, site, results, arguments.owner, folder)
    for publication in made.publications(arguments.parts):
        print(f"{publication.repository} ({publication.kind}): {publication.bytes:,} bytes")
        if arguments.dry_run:
            for name, path in sorted(publication.files.items()):
                print(f"  {path.stat().st_size:>15,}  {name}")
            continue
        variable = site.hub_token_variable
        private = not arguments.public
        upload(
            publication.repository, publication.kind, publication.files, variable, private=private
        )


if __name__ == "__main__":
    main()
