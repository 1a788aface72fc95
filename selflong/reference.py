"""Pages of the documentation that are made from the code: keys, schemas, messages, scale."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from selflong import formats
from selflong.estimate.retrieval import alternatives, encode_seconds, index_use
from selflong.estimate.speed import SPEED_COLUMNS, speed_cells, stage_speeds
from selflong.estimate.training import seconds_of
from selflong.estimate.usage import CHARACTERS_PER_TOKEN
from selflong.placement.fit import first_fit
from selflong.placement.layout import layouts
from selflong.placement.machines import H100
from selflong.placement.shapes import KNOWN, architecture
from selflong.recipe.loading import load_recipe
from selflong.recipe.recipe import Recipe
from selflong.recipe.retrieval import Encoder
from selflong.recipe.section import sections_of
from selflong.recipe.site import Site
from selflong.root import PACKAGE, ROOT
from selflong.sources.documents.section import Size
from selflong.tables import pipes

PLAIN = {
    int: "integer",
    float: "number",
    str: "text",
    bool: "true or false",
    Path: "path",
    NoneType: "null",
    Any: "any value",
}
LIMITS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


def rows(columns: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    cells = [
        [cell.replace("|", r"\|").replace("\n", " ") for cell in line] for line in [columns, *body]
    ]
    return "\n".join(pipes(cells)) + "\n"


# ---------------------------------------------------------------------------------------- settings


def settings() -> str:
    """Every key of a recipe and of a site, with its type, its default and its sentence."""
    parts = ["# Every setting", ""]
    for root, title in ((Recipe, "The recipe"), (Site, "The site: config.yaml")):
        parts += [f"## {title}", ""]
        for section in sections(root):
            parts += [f"### {section.__name__}", "", inspect.getdoc(section) or "", ""]
            body = [
                (f"`{name}`", _type(field), _default(field), sentence(section, name))
                for name, field in section.model_fields.items()
                if name != "assumed"
            ]
            if body:
                parts += [rows(("key", "type", "default", "what it is"), body), ""]
    return "\n".join(parts)


def sections(root: type[BaseModel]) -> list[type[BaseModel]]:
    """A section and all below it, each once, in the order in which they are met."""
    found = [root]
    for section in found:
        for field in section.model_fields.values():
            found += [part for part in sections_of(field.annotation) if part not in found]
    return list(dict.fromkeys(found))


def sentence(section: type[BaseModel], key: str) -> str:
    """What a key is: the text below it, else what its type says of itself."""
    field = section.model_fields[key]
    parts = list(sections_of(field.annotation))
    if text := sentences(section).get(key) or field.description:
        return text
    if key == "kind":
        return "Which of the kinds it is; the other keys follow from that."
    return (inspect.getdoc(parts[0]) or "").partition("\n\n")[0] if len(parts) == 1 else ""


@cache
def sentences(section: type[BaseModel]) -> dict[str, str]:
    """Key -> the text that stands below it, in the section or in one that it extends."""
    found: dict[str, str] = {}
    for part in reversed(section.__mro__):
        if not issubclass(part, BaseModel) or part is BaseModel:
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(part))).body
        assert isinstance(tree, ast.ClassDef)
        for setting, text in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(setting, ast.AnnAssign) and isinstance(text, ast.Expr):
                assert isinstance(setting.target, ast.Name)
                assert isinstance(text.value, ast.Constant)
                found[setting.target.id] = inspect.cleandoc(str(text.value.value))
    return found


def _type(field: FieldInfo) -> str:
    return _words(field.annotation) + _limits(field.metadata)


def _limits(metadata: Sequence[Any]) -> str:
    said = [
        f"{word} {getattr(limit, name)}"
        for limit in metadata
        for name, word in LIMITS.items()
        if getattr(limit, name, None) is not None
    ]
    return f", {' and '.join(said)}" if said else ""


def _words(annotation: Any) -> str:
    """A type in words, with links to sections."""
    arguments = get_args(annotation)
    match get_origin(annotation):
        case None if annotation in PLAIN:
            words = PLAIN[annotation]
        case None:
            words = f"[{annotation.__name__}](#{annotation.__name__.lower()})"
        case origin if origin is Annotated:
            words = _words(arguments[0]) + _limits(arguments[1:])
        case origin if origin is Literal:
            words = ", ".join(f"`{value}`" for value in arguments)
        case origin if origin is list:
            words = f"list of {_words(arguments[0])}"
        case origin if origin is dict:
            words = f"{_words(arguments[1])} by {_words(arguments[0])}"
        case _:
            words = " or ".join(dict.fromkeys(map(_words, arguments)))
    return words


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.default
    if value is PydanticUndefined or isinstance(value, BaseModel):
        return "its own defaults"
    return "null" if value is None else f"`{value}`"


# ------------------------------------------------------------------------------------------- files


def files() -> str:
    """Every schema of a file that passes between stages."""
    parts = [
        "# Files and schemas",
        "",
        "Parquet files between the stages; [who writes and reads them](architecture.md#how-data-flow).",
        "",
    ]
    source = inspect.getsource(formats)
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            assert isinstance(node.targets[0], ast.Name)
            parts += [f"## {node.targets[0].id}", "", _columns(node.value, source), ""]
    return "\n".join(parts)


def _columns(schema: ast.Dict, source: str) -> str:
    lines = source.splitlines()
    body = []
    for key, value in zip(schema.keys, schema.values, strict=True):
        if isinstance(key, ast.Constant):
            kind = " ".join((ast.get_source_segment(source, value) or "").split())
            comments = [
                comment[1]
                for line in lines[value.lineno - 1 : value.end_lineno]
                if (comment := re.search(r"#\s*(.+)$", line))
            ]
            short = f"`{kind.replace('pl.', '')}`" if len(kind) < 60 else "nested"
            body.append((f"`{key.value!s}`", short, "; ".join(comments)))
    return rows(("column", "type", "what it is"), body)


# ---------------------------------------------------------------------------------------- messages


def messages() -> str:
    """Every sentence with which a command or a job ends, by the part that says it."""
    parts = [
        "# Troubleshooting", "",
        "A user's mistake ends a command or a job with one sentence: place, mistake and what",
        "to do. Snakemake's output names the log of the job; the sentence is its last line.",
        "By the part that says them (`...` stands for a name or a number):", "",
    ]  # fmt: skip
    for path in sorted(PACKAGE.rglob("*.py")):
        if found := list(dict.fromkeys(_messages(path))):
            parts += [f"## {path.relative_to(PACKAGE).with_suffix('').as_posix()}", ""]
            parts += [f"- `{message}`" for message in found] + [""]
    return "\n".join(parts)


def _messages(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "UserError" and node.args:
            text = " ".join(_text(node.args[0]).split()).replace("`", "'")
            if len(text.replace("...", "")) > 12:
                yield text


def _text(node: ast.expr) -> str:
    """A sentence with `...` for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return "..."


# ------------------------------------------------------------------------------------------- scale

DOCUMENTS = (10_000_000, 100_000_000, 1_000_000_000)
MODELS = {"8B": "meta-llama/Llama-3.1-8B-Instruct", "70B": "meta-llama/Llama-3.1-70B-Instruct"}
LENGTHS = {"1M": 1 << 20, "4M": 1 << 22}
GPUS = (8, 16, 32, 64, 128, 256, 512, 1024)
SPEED_OF = "selflong_8b"
TOKENS_PER_DOCUMENT = 1000
QUERIES = 10_000
ENCODER = Encoder(
    weights="package:e5", dimensions=4096, maximum_tokens=512, index="Flat",
)  # fmt: skip
"""The paper's, e5-mistral-7b."""


def scale_of_retrieval(encoder: Encoder = ENCODER) -> str:
    """Bytes and hours of each index over ever more documents, on H100 nodes."""
    body = []
    for documents in DOCUMENTS:
        tokens = documents * TOKENS_PER_DOCUMENT
        size = Size(documents, tokens, round(tokens * CHARACTERS_PER_TOKEN))
        hours = [
            encode_seconds(
                size, encoder.maximum_tokens, KNOWN["intfloat/e5-mistral-7b-instruct"], H100, gpus
            )
            / 3600
            for gpus in (8, 1024)
        ]
        for choice in [encoder, *alternatives(encoder)]:
            use = index_use(choice, documents, QUERIES, H100)
            body.append(
                (
                    f"{documents // 10**6:,}M",
                    use.index,
                    _bytes(2 * documents * encoder.dimensions),
                    _bytes(use.disk),
                    _bytes(use.build_memory), _bytes(use.search_memory), _hours(use.search_seconds / 3600),
                    _hours(hours[0]), _hours(hours[1]),
                )
            )  # fmt: skip
    columns = (
        "documents", "index", "embeddings", "disk", "memory to build", "memory to search",
        f"{QUERIES:,} queries", "to embed, 8 GPUs", "to embed, 1,024 GPUs",
    )  # fmt: skip
    return rows(columns, body)


def scale_of_training() -> str:
    """The cheapest layout of one stage that 80 GB hold, by model, length and number of GPUs."""
    body = []
    for model, repository in MODELS.items():
        shape = KNOWN[repository]
        for name, length in LENGTHS.items():
            for gpus in GPUS:
                fit = first_fit(shape, length, layouts(gpus, gpus), gpus // 8, H100)
                ranks = fit.layout.sequence
                layout = replace(fit.layout, ranks=ranks)
                seconds = seconds_of(shape, length, length / 2, H100, layout)
                body.append(
                    (
                        model, name, str(gpus), _bytes(fit.memory.total), "yes" if fit.fits else "**no**",
                        str(ranks), str(gpus // ranks), _offloaded(fit.layout), _hours(seconds / 3600),
                    )
                )  # fmt: skip
    columns = (
        "model", "tokens", "GPUs", "memory of a GPU", "fits", "GPUs a sequence", "sequences a step",
        "to the CPU", "a step",
    )  # fmt: skip
    return rows(columns, body)


def speed_of_training() -> str:
    """The stages of the paper's 8B, by kernel."""
    recipe = load_recipe(ROOT / "recipes" / "selflong.yaml")
    shape = architecture(recipe.root_weights(SPEED_OF))
    body = [
        speed_cells(speed)
        for stage in recipe.models[SPEED_OF].stages
        for speed in stage_speeds(recipe, shape, stage)
    ]
    return rows(SPEED_COLUMNS, body)


def _offloaded(layout: Any) -> str:
    kept = [name for name in ("optimizer", "activations") if getattr(layout, f"offload_{name}")]
    return " and ".join(kept) or "nothing"


def _bytes(count: float) -> str:
    return f"{count / 1e12:,.1f} TB" if count >= 1e12 else f"{count / 1e9:,.0f} GB"


def _hours(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 0.1 else f"{hours * 3600:,.0f} s"
