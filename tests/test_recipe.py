"""Every mistake in a recipe or a site gets one sentence: file, key, what is allowed."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from selflong.job import UserError
from selflong.recipe.loading import load_recipe, load_site, parse, read_yaml
from selflong.recipe.recipe import Recipe, stages_of_mixture
from selflong.recipe.section import PATTERNS
from selflong.recipe.site import Site
from selflong.recipe.synthesis import Lengths

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
LAPTOP = read_yaml(ROOT / "recipes" / "laptop.yaml")
RECALL = read_yaml(ROOT / "recipes" / "recall.yaml")
SITE = read_yaml(ROOT / "config.yaml")

Change = Callable[[dict[str, Any]], None]


def put(place: str, value: Any) -> Change:
    """Set the value at `place`, keys and indices joined by '/'."""

    def change(content: dict[str, Any]) -> None:
        *way, last = place.split("/")
        target: Any = content
        for step in way:
            target = target[int(step) if isinstance(target, list) else step]
        target[int(last) if isinstance(target, list) else last] = value

    return change


def drop(place: str) -> Change:
    def change(content: dict[str, Any]) -> None:
        *way, last = place.split("/")
        target: Any = content
        for step in way:
            target = target[int(step) if isinstance(target, list) else step]
        del target[last]

    return change


def with_change(content: dict[str, Any], change: Change) -> dict[str, Any]:
    changed = copy.deepcopy(content)
    change(changed)
    return changed


def sentence(
    tmp_path: Path, content: dict[str, Any], load: Callable[[Path], Any], name: str
) -> str:
    path = tmp_path / name
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(UserError) as error:
        load(path)
    said = str(error.value).splitlines()
    assert all(text.startswith(f"{path}: ") for text in said)
    return said[0].removeprefix(f"{path}: ")


CURVE = {
    "title": "t",
    "axis": "a",
    "points": [{"at": 1, "model": "base"}, {"at": 2, "model": "full"}],
    "columns_of": "Table1",
}


def asks_who_does_not_exist(content: dict[str, Any]) -> None:
    """A suite does, which a figure draws."""
    content["suites"]["ruler"]["models"] = ["base", "gone"]
    columns = {"RULER": {"suite": "ruler", "tasks": ["mean"], "lengths": [1024]}}
    content["report"]["curves"] = {"mine": {**CURVE, "columns_of": None, "columns": columns}}


MISTAKES = {
    "a figure of a suite that asks who does not exist": (
        asks_who_does_not_exist,
        "suites.ruler.models: 'gone' does not exist; there are base",
    ),
    "unknown key, near a known one": (
        put("synthesis/long_input/chunk_token", 5),
        "synthesis.long_input.chunk_token: unknown key; did you mean 'chunk_tokens'?",
    ),
    "unknown key, near none": (
        put("models/full/zzz", 1),
        "models.full.zzz: unknown key; allowed are assumed, chat, label, mask_prompt, precision, "
        "published, seed, stages, start, supports, weights",
    ),
    "unknown key of one of several kinds": (
        put("corpora/documents/sources/0/licens", "x"),
        "corpora.documents.sources[0].licens: unknown key; did you mean 'licence'?",
    ),
    "missing key": (drop("synthesis/corpus"), "synthesis.corpus: is missing"),
    "wrong type": (put("seed", "many"), "seed: Input should be a valid integer"),
    "too small": (
        put("models/full/stages/0/length", 0),
        "models.full.stages[0].length: Input should be greater than 0, not 0",
    ),
    "a task near one that exists": (
        put("synthesis/long_input/instruction_position", "befor"),
        "synthesis.long_input.instruction_position: Input should be 'before', 'after' or 'both', "
        "not 'befor'; did you mean 'before'?",
    ),
    "a mapping where a list belongs": (
        put("suites/ruler/tasks", LAPTOP["synthesis"]),
        "suites.ruler.tasks: must be a list, not {",
    ),
    "a list where a section belongs": (
        put("synthesis", list(LAPTOP["models"])),
        "synthesis: must hold keys and values, not [",
    ),
    "a number where a path belongs": (
        put("corpora/documents/sources/0", {"kind": "folder", "path": 3}),
        "corpora.documents.sources[0].path: must be a path, not 3",
    ),
    "truth where a number belongs": (
        put("synthesis/long_input/samples", True),
        "synthesis.long_input.samples: must be a number, not true",
    ),
    "not a number": (
        put("models/full/stages/0/optimizer/learning_rate", float("nan")),
        "models.full.stages[0].optimizer.learning_rate: Input should be a finite number, not nan",
    ),
    "a package outside of the installed ones": (
        put("models/base/weights/package", "../other"),
        "models.base.weights.package: a package is written as it is imported, not '../other'",
    ),
    "a character that a terminal obeys": (
        put("models/full/label", "\x1b[31mred"),
        "models.full.label: holds the character U+001B; remove it",
    ),
    "a name that no file system holds": (
        put(f"suites/{'n' * 300}", LAPTOP["suites"]["ruler"]),
        f"suites.{'n' * 80}…: String should have at most 100 characters",
    ),
    "not one of the choices": (
        put("synthesis/long_input/instruction_position", "middle"),
        "synthesis.long_input.instruction_position: Input should be 'before', 'after' or 'both', "
        "not 'middle'",
    ),
    "a kind that does not exist": (
        put("suites/ruler/kind", "rulr"),
        "suites.ruler.kind: 'rulr' does not exist; did you mean 'ruler'?",
    ),
    "a task that does not exist": (
        put("suites/ruler/tasks", ["niah_single_9"]),
        "suites.ruler.tasks[0]: Input should be 'niah_single_1', ",
    ),
    "a stage shorter than its start": (
        put("models/full/stages/2/length", 512),
        "models.full.stages[2].length: 512 is shorter than its start full/1k with 1024",
    ),
    "a batch that is no multiple of the length": (
        put("models/full/stages/0/global_batch_tokens", 500),
        "models.full.stages[0].global_batch_tokens: 500 is no multiple of the stage's length 512",
    ),
    "a stage that trains without a mixture": (
        drop("models/full/stages/0/mixture"),
        "models.full.stages[0]: a stage that trains needs mixture",
    ),
    "two stages of one name": (
        put("models/full/stages/1/name", "512"),
        "models.full.stages[0].name: '512' is taken",
    ),
    "a mixture that does not exist": (
        put("models/full/stages/0/mixture", "ful"),
        "models.full.stages[0].mixture: 'ful' does not exist; did you mean 'full'?",
    ),
    "a start that is empty": (
        put("models/full/start", ""),
        "models.full.start: '' does not exist; there are base, base/initial, ",
    ),
    "a list where a number or a word belongs": (
        put("models/full/stages/0/rope_base", ["keep"]),
        "models.full.stages[0].rope_base: Input should be a valid number, not ['keep']",
    ),
    "a start that does not exist": (
        put("models/full/start", "basis"),
        "models.full.start: 'basis' does not exist; did you mean 'base'?",
    ),
    "a circle": (
        put("models/rope_only/start", "rope_only"),
        "models.rope_only.start: rope_only -> rope_only goes round in a circle",
    ),
    "weights and a start": (
        put("models/base/start", "full"),
        "models.base: give weights or start, one of the two",
    ),
    "a suite's model that does not exist": (
        put("suites/ruler/models", ["bass"]),
        "suites.ruler.models: 'bass' does not exist; did you mean 'base'?",
    ),
    "a length without a number of samples": (
        put("suites/ruler/samples", {1024: 4}),
        "suites.ruler: samples must name each length once: [1024, 2048], not [1024]",
    ),
    "a chunk that no context holds": (
        put("generators/smollm2/context_tokens", 100),
        "generators.smollm2.context_tokens: 100 does not hold a chunk, an instruction and a summary (",
    ),
    "a chunk longer than the paper's": (
        put("synthesis/long_input/chunk_tokens", 5000),
        "synthesis.long_input.chunk_tokens: Input should be less than or equal to 4096, not 5000",
    ),
    "lengths the wrong way round": (
        put("synthesis/long_input/lengths/minimum", 5000),
        "synthesis.long_input.lengths: minimum 5000 is above maximum 2000",
    ),
    "an assumption about nothing": (
        put("synthesis/assumed", {"corpsu": "unknown"}),
        "synthesis: assumed names 'corpsu', which is no setting of this section",
    ),
    "an entry with a name that Snakemake keeps": (
        put("mixtures/full/entries/get", LAPTOP["mixtures"]["full"]["entries"]["short"]),
        "mixtures.full.entries.get: Snakemake keeps this name; give another one",
    ),
    "corpora without a synthesis": (
        put("synthesis", None),
        "corpora: without a section synthesis they have no effect",
    ),
    "tokens and epochs": (
        put("mixtures/full/entries/short/epochs", 1),
        "mixtures.full.entries.short: give epochs, tokens or share, one of the three",
    ),
    "a generator that does not exist": (
        put("mixtures/full/entries/long_input/source/generator", "gpt"),
        "mixtures.full.entries.long_input.source.generator: 'gpt' does not exist; there are smollm2",
    ),
    "a name that is no file name": (
        put("suites/Ruler!", LAPTOP["suites"]["ruler"]),
        "suites.Ruler!: a name begins with a lower-case letter or a digit and holds only",
    ),
    "another name than the file's": (put("name", "notebook"), "name: must be 'laptop'"),
    "a spread of nothing": (
        put("synthesis/long_input/lengths/sigma", 0),
        "synthesis.long_input.lengths.sigma: Input should be greater than 0",
    ),
    "a mean outside of the bounds": (
        put("synthesis/long_input/lengths/mean", 5),
        "synthesis.long_input.lengths: mean 5 is not between minimum",
    ),
    "a number that is none": (
        put("models/full/stages/0/rope_base", float("nan")),
        "models.full.stages[0].rope_base: ",
    ),
    "a rope base of nothing": (
        put("models/full/stages/0/rope_base", 0),
        "models.full.stages[0].rope_base: Input should be greater than 0",
    ),
    "epochs below nothing": (
        put("mixtures/full/entries/long_input/epochs", -1),
        "mixtures.full.entries.long_input.epochs: Input should be greater than 0",
    ),
    "a moment that never forgets": (
        put("models/full/stages/0/optimizer/beta2", 1.0),
        "models.full.stages[0].optimizer.beta2: Input should be less than 1",
    ),
    "a rate without end": (
        put("models/full/stages/0/optimizer/learning_rate", float("inf")),
        "models.full.stages[0].optimizer.learning_rate: Input should be a finite number, not inf",
    ),
    "epochs without end": (
        put("mixtures/full/entries/long_input/epochs", float("inf")),
        "mixtures.full.entries.long_input.epochs: Input should be a finite number",
    ),
    "a spread that is no number": (
        put("synthesis/long_input/lengths/sigma", float("nan")),
        "synthesis.long_input.lengths.sigma: Input should be a finite number",
    ),
    "a mean above the bounds": (
        put("synthesis/long_input/lengths/mean", 1_000_000),
        "synthesis.long_input.lengths: mean 1000000 is not between minimum",
    ),
    "a spread beyond all numbers": (
        put("synthesis/long_input/lengths/sigma", 1e9),
        "synthesis.long_input.lengths.sigma: Input should be less than or equal to 10",
    ),
    "a suite with the name of a file": (
        put("suites/texts.parquet", LAPTOP["suites"]["ruler"]),
        "suites.texts.parquet: a file of the results has this name; give another one",
    ),
    "a model with the name of a file": (
        put("models/scores.parquet", LAPTOP["models"]["base"]),
        "models.scores.parquet: a file of the results has this name; give another one",
    ),
    "a row without a name": (
        put("report/ablation", {"": "full"}),
        "report.ablation.: a label holds a letter or another sign",
    ),
    "a suite whose lengths no model supports": (
        put(
            "models",
            {name: {**LAPTOP["models"][name], "supports": 500} for name in LAPTOP["models"]},
        ),
        "suites.ruler.lengths: no model supports 1024; give a shorter one, or leave",
    ),
    "an argument that every chat template has": (
        put("models/base/chat", {"template_arguments": {"messages": []}}),
        "models.base.chat: template_arguments: 'messages' is given to every template; leave it out",
    ),
    "a suite whose tables the report could make itself": (
        put("suites/synthesis", LAPTOP["suites"]["ruler"]),
        "suites.synthesis: the report keeps this name for tables or figures of its own",
    ),
    "a figure that the report makes itself": (
        put("report/curves", {"loss_by_stage": CURVE}),
        "report.curves.loss_by_stage: the report keeps this name for tables or figures of its own",
    ),
    "a figure that the report makes of a mixture": (
        put("report/curves", {"sample_lengths_full": CURVE}),
        "report.curves.sample_lengths_full: the report keeps this name",
    ),
    "a seed below nothing": (put("seed", -1), "seed: Input should be greater than or equal to 0"),
    "a task twice": (
        put("suites/ruler/tasks", ["vt", "vt"]),
        "suites.ruler.tasks: 'vt' stands twice",
    ),
    "a model twice": (
        put("suites/needle_grid/models", ["full", "full/2k"]),
        "suites.needle_grid.models: full/2k stands twice",
    ),
    "a yes in place of a number": (
        put("suites/needle_grid/depths", True),
        "suites.needle_grid.depths: must be a number, not true",
    ),
    "more shards than anybody plans": (
        put("corpora/documents/shards", 20_000),
        "corpora.documents.shards: Input should be less than or equal to 10000",
    ),
    "a filter that passes nothing": (
        put("corpora/documents/filters/maximum_tokens", 100),
        "corpora.documents.filters: minimum_tokens 200 is above maximum_tokens 100",
    ),
    "a base smaller than before": (
        put("models/full/stages/2/rope_base", 10.0),
        "models.full.stages[2].rope_base: 10 is below that of its start full/1k, 1.6e+06: a longer",
    ),
    "a base that never ends": (
        put("models/full/stages/0/rope_base", float("inf")),
        "models.full.stages[0].rope_base: Input should be a finite number",
    ),
    "a base beyond float32": (
        put("models/full/stages/0/rope_base", 1e300),
        "models.full.stages[0].rope_base: must be at most 1e+15",
    ),
    "epochs that are no number": (
        put("mixtures/full/entries/long_input/epochs", float("nan")),
        "mixtures.full.entries.long_input.epochs: Input should be a finite number",
    ),
    "a spread below nothing": (
        put("synthesis/long_input/lengths/sigma", -1),
        "synthesis.long_input.lengths.sigma: Input should be greater than 0",
    ),
    "an endless temperature": (
        put("generators/smollm2/sampling/temperature", float("inf")),
        "generators.smollm2.sampling.temperature: Input should be a finite number",
    ),
    "a score that is no share": (
        put("corpora/documents/filters/minimum_language_score", 2),
        "corpora.documents.filters.minimum_language_score: Input should be less than or equal to 1",
    ),
    "a threshold of nothing": (
        put("mixtures/full/deduplication/threshold", 0),
        "mixtures.full.deduplication.threshold: Input should be greater than 0",
    ),
    "one permutation": (
        put("mixtures/full/deduplication/permutations", 1),
        "mixtures.full.deduplication.permutations: Input should be greater than or equal to 16",
    ),
    "more samples than anybody counts": (
        put("synthesis/long_input/samples", 10**400),
        "synthesis.long_input.samples: must be at most 1e+15",
    ),
    "a length twice": (
        put("suites/needle_grid/lengths", [512, 512]),
        "suites.needle_grid.lengths: 512 stands twice",
    ),
    "a length that holds no prompt": (
        put("suites/needle_grid/lengths", [1]),
        "suites.needle_grid: lengths: 1 holds no prompt; give at least 64",
    ),
    "a published name that nobody printed": (
        put("models/base/published", "SelfLong-8B"),
        "models.base.published: 'SelfLong-8B' does not exist; did you mean 'SelfLong-8B-1M'?",
    ),
    "a printed table that no paper has": (
        put(
            "report/printed",
            {
                "Table9": {
                    "rows": {"a": "full"},
                    "columns": {"b": {"suite": "ruler", "tasks": ["vt"]}},
                }
            },
        ),
        "report.printed: 'Table9' does not exist; did you mean 'Table",
    ),
    "an answer that no context holds": (
        put("synthesis/long_input/answer_tokens", 10**6),
        "synthesis.long_input.answer_tokens: 1000000 and an instruction of ",
    ),
    "an excerpt that no context holds": (
        put("synthesis/long_output/excerpt_tokens", 10**6),
        "synthesis.long_output.excerpt_tokens: 1000000 and an instruction of ",
    ),
    "shards without a sample": (
        put("synthesis/long_input/shards", 5000),
        "synthesis.long_input: 5000 shards of ",
    ),
    "similarity of nothing": (
        put("synthesis/long_input/duplicate_threshold", 0),
        "synthesis.long_input.duplicate_threshold: Input should be greater than 0",
    ),
    "a sequence without a next token": (
        put("models/full/stages/0/length", 1),
        "models.full.stages[0].length: Input should be greater than or equal to 2",
    ),
    "a decay that leaves nothing": (
        put("models/full/stages/0/optimizer/weight_decay", 1e9),
        "models.full.stages[0].optimizer.weight_decay: Input should be less than or equal to 10",
    ),
    "more depths than anybody asks": (
        put("suites/needle_grid/depths", 10**9),
        "suites.needle_grid.depths: Input should be less than or equal to 1000",
    ),
    "a figure with the name of a suite's": (
        put("report/curves", {"ruler_by_length": CURVE}),
        "report.curves.ruler_by_length: a figure of suites.ruler may have this name; give another one",
    ),
    "a figure whose columns stand twice": (
        put(
            "report/curves", {"x": CURVE | {"columns": {"C": {"suite": "ruler", "tasks": ["vt"]}}}}
        ),
        "report.curves.x: give columns_of or columns",
    ),
    "a figure that is no file": (
        put("report/curves", {"../x": CURVE}),
        "report.curves.../x: a name begins with a lower-case letter or a digit",
    ),
    "the folder of all recipes as a name": (
        put("name", "downloads"),
        "name: 'downloads' is the folder that all recipes share; give another one",
    ),
    "tokens of a model that does not exist": (
        put(
            "mixtures/full/entries/short/source",
            {
                "kind": "mds",
                "repository": "a/b",
                "revision": "main",
                "files": "**",
                "rows": 1,
                "tokens": 9,
                "tokenizer": "bass",
            },
        ),
        "mixtures.full.entries.short.source.tokenizer: 'bass' does not exist; did you mean 'base'?",
    ),
    "a date that no template prints": (
        put("chat_date", "2024-07-26"),
        "chat_date: must read like '26 Jul 2024', not '2024-07-26'",
    ),
    "heads that share no width": (
        put("models/small_init/weights/heads", 3),
        "models.small_init.weights: hidden 128 is no multiple of 2 x heads 3",
    ),
    "an index that FAISS does not know": (
        put("encoders/minilm/index", "Flatt"),
        "encoders.minilm.index: an index is written as FAISS writes it, such as Flat, SQ8",
    ),
    "a label without a sign": (
        put("models/full/label", "  "),
        "models.full.label: a label holds a letter or another sign, not '  '",
    ),
    "a revision that is a path": (
        put(
            "models/base/weights",
            {"kind": "hub", "repository": "a/b", "revision": "../../etc"},
        ),
        "models.base.weights.revision: a revision is a branch, a tag or a commit, not '../../etc'",
    ),
    "an optimizer that nobody trained": (
        put("models/full/stages/0/continue_optimizer", True),
        "models.full.stages[0].continue_optimizer: base/initial was not trained here",
    ),
    "more of a stage than there is": (
        put(
            "mixtures/full/entries",
            {
                name: {
                    "source": LAPTOP["mixtures"]["full"]["entries"]["short"]["source"],
                    "share": 0.6,
                }
                for name in ("one", "two")
            },
        ),
        "mixtures.full: shares of its entries come to 1.2, more than 1",
    ),
    "a repository that leaves its folder": (
        put("models/base/weights", {"kind": "hub", "repository": "..", "revision": "main"}),
        "models.base.weights.repository: a repository of the hub is written owner/name",
    ),
}


REPOSITORIES = [
    "..",
    ".",
    "a",
    "a/..",
    "../a",
    "a/b/c",
    "a/b$(touch x)",
    "a /b",
    "https://a/b",
    "a/b/",
    "",
    "a//b",
]


@pytest.mark.parametrize("name", REPOSITORIES)
def test_a_repository_is_an_owner_and_a_name(tmp_path: Path, name: str) -> None:
    weights = {"kind": "hub", "repository": name, "revision": "main"}
    changed = with_change(LAPTOP, put("models/base/weights", weights))
    expected = "models.base.weights.repository: a repository of the hub is written owner/name, not "
    assert sentence(tmp_path, changed, load_recipe, "laptop.yaml") == f"{expected}{name!r}"


def test_no_sentence_repeats_a_whole_section(tmp_path: Path) -> None:
    changed = with_change(LAPTOP, put("suites/ruler/tasks", LAPTOP["synthesis"]))
    assert len(sentence(tmp_path, changed, load_recipe, "laptop.yaml")) < 200


@pytest.mark.parametrize("change, expected", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_a_recipe_gets_one_sentence(
    tmp_path: Path, change: Change, expected: str
) -> None:
    changed = with_change(LAPTOP, change)
    assert sentence(tmp_path, changed, load_recipe, "laptop.yaml").startswith(expected)


SITE_MISTAKES = {
    "a folder that Snakemake takes for a wildcard": (
        put("results", "my {results}"),
        "results: holds a bracket, a tab or a line end",
    ),
    "a folder that only a shell finds": (
        put("work", "~/work"),
        "work: begins with ~, which only a shell takes for a home: write the path out",
    ),
    "an account that is a command": (
        put("account", "mine --wrap=ls"),
        "account: a name of SLURM's holds no space and no quote, not 'mine --wrap=ls'",
    ),
    "a server that listens elsewhere": (
        put("evaluation", {"kind": "vllm", "arguments": ["--enforce-eager", "--host=0.0.0.0"]}),
        "evaluation.arguments: --host is decided here; leave it out",
    ),
    "a project that is a path": (
        put("tracking", {"kind": "wandb", "project": "../../x"}),
        "tracking.project: a project's name holds letters, digits, '_', '.' and '-'",
    ),
    "unknown key": (put("trainig", {}), "trainig: unknown key; did you mean 'training'?"),
    "a kind of job that does not exist": (
        put("resources", {"trainin": {"gpus": 8}}),
        "resources.trainin: Input should be 'pipeline', 'encoding', ",
    ),
    "unknown key of one of several kinds": (
        put("evaluation/thread", 2),
        "evaluation.thread: unknown key; did you mean 'threads'?",
    ),
    "not a whole number": (
        put("training/ranks_per_node", 1.5),
        "training.ranks_per_node: Input should be a valid integer",
    ),
}


@pytest.mark.parametrize("change, expected", SITE_MISTAKES.values(), ids=SITE_MISTAKES)
def test_a_mistake_in_a_site_gets_one_sentence(
    tmp_path: Path, change: Change, expected: str
) -> None:
    changed = with_change(SITE, change)
    assert sentence(tmp_path, changed, load_site, "config.yaml").startswith(expected)


def test_all_starts_that_lead_nowhere_are_said_at_once(tmp_path: Path) -> None:
    changed = with_change(LAPTOP, put("models/full/start", "basis"))
    changed["models"]["rope_only"]["start"] = "bass"
    path = tmp_path / "laptop.yaml"
    path.write_text(yaml.safe_dump(changed))
    with pytest.raises(UserError) as error:
        load_recipe(path)
    places = [line.split(": ")[1] for line in str(error.value).splitlines()]
    assert set(places) == {"models.rope_only.start", "models.full.start"}


def test_every_pattern_is_said_in_words() -> None:
    """A regular expression in a sentence helps nobody."""

    def patterns(schema: Any) -> Any:
        if isinstance(schema, dict):
            yield from [schema["pattern"]] if isinstance(schema.get("pattern"), str) else []
            for part in schema.values():
                yield from patterns(part)
        elif isinstance(schema, list):
            for part in schema:
                yield from patterns(part)

    found = {*patterns(Recipe.model_json_schema()), *patterns(Site.model_json_schema())}
    assert found
    assert found <= set(PATTERNS)


RECALL_MISTAKES = {
    "a language with too few keys": (
        put("suites/recall/language/keys", 8),
        "mixtures.d64.entries.needles.source.language: 16 needles need as many keys, not 8",
    ),
    "a length without filler": (
        put("suites/recall/lengths", [34, 64]),
        "suites.recall: length 34 is too short, needles and queries take 34",
    ),
    "sequences without filler": (
        put("mixtures/d64/entries/needles/source/length", 30),
        "mixtures.d64.entries.needles.source: length 30 is too short",
    ),
    "a vocabulary that the language does not fit": (
        put("models/init_1/weights/vocabulary", 1000),
        "models.init_1.weights.vocabulary: mixtures.d64 holds 1123 token ids, not 1000",
    ),
    "data that do not exist": (
        put("models/short_only_1/stages/0/mixture", "shorts"),
        "models.short_only_1.stages[0].mixture: 'shorts' does not exist; did you mean 'short'?",
    ),
    "token ids for a model that reads text": (
        put("models/init_1/weights", {"kind": "hub", "repository": "a/b", "revision": "main"}),
        "mixtures.d64: its token ids stand for no text, but init_1 has a tokenizer; leave it out",
    ),
    "text for a model without a tokenizer": (
        put(
            "mixtures/d64/entries/needles/source",
            {"kind": "package", "reader": "chatterbot", "licence": "BSD-3-Clause"},
        ),
        "mixtures.d64: is text, but init_1 has random weights and no tokenizer; leave it out",
    ),
    "text and token ids together": (
        put(
            "mixtures/d64/entries/chats",
            {
                "source": {"kind": "package", "reader": "chatterbot", "licence": "BSD-3-Clause"},
                "epochs": 1,
            },
        ),
        "mixtures.d64: entry 'chats' is text, others are token ids that stand for none",
    ),
}


@pytest.mark.parametrize("change, expected", RECALL_MISTAKES.values(), ids=RECALL_MISTAKES)
def test_a_mistake_in_a_recall_study_gets_one_sentence(
    tmp_path: Path, change: Change, expected: str
) -> None:
    changed = with_change(RECALL, change)
    assert sentence(tmp_path, changed, load_recipe, "recall.yaml").startswith(expected)


TEXTS = {
    "missing file": (None, "does not exist"),
    "duplicate key": ("name: laptop\nseed: 1\nseed: 2\n", "key 'seed' in line 3 stands twice"),
    "duplicate key inside": (
        "models:\n  a: {label: x, label: y}\n",
        "key 'label' in line 2 stands twice",
    ),
    "not YAML": ("name: [laptop\nseed: 1\n", "not YAML in line "),
    "not a mapping": ("- laptop\n", "must hold keys and values"),
    "empty": ("", "must hold keys and values"),
    "not text": (b"\xff\xfe\x00", "not a text file in UTF-8"),
}


@pytest.mark.parametrize("text, expected", TEXTS.values(), ids=TEXTS)
def test_a_file_that_cannot_be_read_gets_one_sentence(
    tmp_path: Path, text: str | bytes | None, expected: str
) -> None:
    path = tmp_path / "laptop.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as error:
        load_recipe(path)
    assert str(error.value).startswith(str(path))
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_each_recipe_is_right(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.description
    for checkpoint in recipe.checkpoints():
        assert recipe.models[recipe.root(checkpoint)].weights is not None


def test_the_site_is_right() -> None:
    assert (ROOT / "recipes" / f"{load_site(ROOT / 'config.yaml').recipe}.yaml").exists()


def test_scientific_notation_is_a_number(tmp_path: Path) -> None:
    path = tmp_path / "numbers.yaml"
    path.write_text("a: 1e-5\nb: 2.0e+6\nc: -3E4\nd: 1_000\n")
    assert read_yaml(path) == {"a": 1e-5, "b": 2e6, "c": -3e4, "d": 1000}


def test_own_keys_win_over_merged_ones(tmp_path: Path) -> None:
    path = tmp_path / "merge.yaml"
    path.write_text(
        "first: &first {a: 1, b: {c: 2}}\n"
        "second: &second\n  b: 3\n  <<: *first\n"
        "third: {<<: *second, a: 4}\n"
    )
    content = read_yaml(path)
    assert content["second"] == {"a": 1, "b": 3}
    assert content["third"] == {"a": 4, "b": 3}


def test_a_digest_follows_settings_and_not_the_wording_of_assumptions() -> None:
    lengths = {"distribution": "uniform", "minimum": 1, "maximum": 9}
    plain = Lengths.model_validate(lengths)
    noted = Lengths.model_validate(lengths | {"assumed": {"minimum": "unknown"}})
    other = Lengths.model_validate(lengths | {"minimum": 2})
    assert plain.digest == noted.digest != other.digest


def test_a_digest_ignores_assumptions_deep_inside() -> None:
    changed = copy.deepcopy(LAPTOP)
    changed["synthesis"]["long_input"]["lengths"]["assumed"] = {"minimum": "unknown"}
    first, second = (parse(Recipe, content, "recipe").synthesis for content in (LAPTOP, changed))
    assert first is not None and second is not None
    assert first.digest == second.digest


class TestTheChainOfCheckpoints:
    recipe = load_recipe(ROOT / "recipes" / "laptop.yaml")

    def test_each_stage_starts_from_the_one_before(self) -> None:
        assert self.recipe.start_of("full/2k") == "full/1k"
        assert self.recipe.start_of("full/1k") == "full/512"
        assert self.recipe.start_of("full/512") == "base/initial"
        assert self.recipe.start_of("base/initial") is None

    def test_the_root_is_the_loaded_model(self) -> None:
        assert self.recipe.root("full/2k") == "base"

    def test_a_model_stands_for_its_last_stage(self) -> None:
        assert self.recipe.resolve("full") == "full/2k"
        assert self.recipe.resolve("full/1k") == "full/1k"
        assert self.recipe.resolve("base") == "base/initial"

    def test_stages_of_a_mixture_come_shortest_first(self) -> None:
        assert stages_of_mixture(self.recipe, "full") == {"512": 512, "1k": 1024, "2k": 2048}


class TestThePaper:
    recipe = load_recipe(ROOT / "recipes" / "selflong.yaml")

    def test_lengths_double_and_bases_quadruple(self) -> None:
        stages = self.recipe.models["selflong_8b"].stages
        assert [stage.length for stage in stages] == [2**18, 2**19, 2**20]
        assert [stage.rope_base for stage in stages] == [500_000 * 4**n for n in (1, 2, 3)]

    def test_what_is_not_in_the_paper_is_off(self) -> None:
        assert self.recipe.synthesis is not None
        assert self.recipe.synthesis.gates == type(self.recipe.synthesis.gates)()
        assert not any(mixture.contamination.remove for mixture in self.recipe.mixtures.values())

    def test_nothing_from_the_hub_is_pinned_to_an_invented_commit(self) -> None:
        def sections(value: Any) -> Any:
            if isinstance(value, dict):
                yield value
                for key, inner in value.items():
                    if key != "assumed":
                        yield from sections(inner)
            elif isinstance(value, list):
                for inner in value:
                    yield from sections(inner)

        for section in sections(self.recipe.model_dump(mode="json")):
            if "revision" in section:
                assert section["revision"] == "main"
                assert "revision" in section["assumed"]

    def test_the_published_models_are_there(self) -> None:
        published = {model.published for model in self.recipe.models.values()} - {None}
        rows = (ROOT / "resources" / "published_results.csv").read_text().splitlines()
        named = {
            row.split(",")[2]
            for row in rows
            if row.startswith(("SelfLong,Table1", "SelfLong,Table4"))
        }
        assert published == named


def _folder_model(folder: Path, kind: str, vocabulary: dict[str, int]) -> dict[str, Any]:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    tokenizer = {"model": {"vocab": vocabulary}, "added_tokens": []}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return {"label": folder.name, "weights": {"kind": "folder", "path": str(folder)}}


def test_models_at_hand_are_looked_at_when_the_recipe_is_read(tmp_path: Path) -> None:
    recipe = copy.deepcopy(LAPTOP)
    recipe["models"]["other"] = _folder_model(tmp_path / "one", "mixtral", {"a": 0})
    load_recipe(_written(recipe, tmp_path))  # it is only evaluated
    stages = recipe["models"]["full"]["stages"]
    recipe["models"]["trained"] = {"label": "trained", "start": "other", "stages": stages}
    with pytest.raises(UserError, match="holds a model of type 'mixtral'"):
        load_recipe(_written(recipe, tmp_path))
    recipe["models"]["other"] = _folder_model(tmp_path / "two", "llama", {"a": 0})
    load_recipe(_written(recipe, tmp_path))
    recipe["models"]["third"] = _folder_model(tmp_path / "three", "llama", {"b": 0})
    recipe["models"]["also"] = {"label": "also", "start": "third", "stages": stages}
    with pytest.raises(UserError, match="other, third have different tokenizers"):
        load_recipe(_written(recipe, tmp_path))


def test_a_shorter_stage_is_allowed_where_it_says_so(tmp_path: Path) -> None:
    recipe = copy.deepcopy(LAPTOP)
    last = recipe["models"]["full"]["stages"][-1]
    last |= {"length": 1024, "shorter": True, "global_batch_tokens": 16 * 1024}
    stage = load_recipe(_written(recipe, tmp_path)).models["full"].stages[-1]
    assert stage.shorter
    assert "shorter" not in stage.model_copy(update={"shorter": False}).model_dump()


def _written(recipe: dict[str, Any], folder: Path) -> Path:
    path = folder / "laptop.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path
