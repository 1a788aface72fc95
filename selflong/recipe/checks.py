"""Mistakes in a recipe that span several sections, each as one sentence."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from selflong.formats import MEAN_OF_TASKS, digest
from selflong.job import UserError
from selflong.recipe.document_prompts import load_document_prompts
from selflong.recipe.families import TRAINED_EXACTLY
from selflong.recipe.models import INITIAL
from selflong.recipe.multi_hop_prompts import load_multi_hop_prompts
from selflong.recipe.prompts import load_prompt_set
from selflong.recipe.published import cells
from selflong.recipe.recipe import DOWNLOADS, Recipe
from selflong.recipe.report import Neighbour
from selflong.recipe.synthesis import Generator, LongInput, Synthesis
from selflong.recipe.weights import EndpointWeights, FolderWeights, RandomWeights
from selflong.recipe.wording import does_not_exist
from selflong.sources.conversations.section import ConversationSection


def _unknown(place: str, name: str, known: Any) -> str:
    return f"{place}: {does_not_exist(name, known)}"


def mistakes(recipe: Recipe) -> Iterator[str]:
    """Sentences for what no single section can see."""
    if recipe.name == DOWNLOADS:
        yield f"name: {DOWNLOADS!r} is the folder that all recipes share; give another one"
    lost = list(_start_mistakes(recipe))
    yield from lost
    yield from _model_mistakes(recipe)
    yield from _synthesis_mistakes(recipe)
    yield from _mixture_mistakes(recipe)
    yield from _evaluation_mistakes(recipe)
    yield from _name_mistakes(recipe)
    yield from _published_mistakes(recipe)
    if not lost:
        yield from _order_mistakes(recipe)
        yield from _endpoint_mistakes(recipe)
        yield from _family_mistakes(recipe)
        yield from _vocabulary_mistakes(recipe)
        yield from _suite_vocabulary_mistakes(recipe)
        yield from _report_mistakes(recipe)


def _reference_mistake(recipe: Recipe, place: str, reference: str) -> str | None:
    known = set(recipe.models) | set(recipe.checkpoints())
    return None if reference in known else _unknown(place, reference, known)


def _start_mistakes(recipe: Recipe) -> Iterator[str]:
    """Of starts that lead nowhere: no chain of stages can be followed then."""
    lost = [
        mistake
        for name, model in recipe.models.items()
        if model.start is not None
        and (mistake := _reference_mistake(recipe, f"models.{name}.start", model.start))
    ]
    yield from lost or _circles(recipe)


def _circles(recipe: Recipe) -> Iterator[str]:
    for name in recipe.models:
        seen = [name]
        while (start := recipe.models[seen[-1]].start) is not None:
            seen.append(start.partition("/")[0])
            if seen[-1] in seen[:-1]:
                yield f"models.{name}.start: {' -> '.join(seen)} goes round in a circle"
                return


def _model_mistakes(recipe: Recipe) -> Iterator[str]:
    for name, model in recipe.models.items():
        names = [stage.name for stage in model.stages]
        for position, stage in enumerate(model.stages):
            place = f"models.{name}.stages[{position}]"
            if stage.name == INITIAL or names.count(stage.name) > 1:
                yield f"{place}.name: {stage.name!r} is taken; each stage needs a name of its own"
            if stage.mixture is not None and stage.mixture not in recipe.mixtures:
                yield _unknown(f"{place}.mixture", stage.mixture, recipe.mixtures)
            if (
                stage.global_batch_tokens is not None
                and stage.global_batch_tokens % stage.length != 0
            ):
                yield (
                    f"{place}.global_batch_tokens: {stage.global_batch_tokens} is no multiple of "
                    f"the stage's length {stage.length}"
                )


def _family_mistakes(recipe: Recipe) -> Iterator[str]:
    """Of models whose weights are at hand; others are looked at when they are loaded."""
    for name, model in recipe.models.items():
        weights = model.weights
        if not isinstance(weights, FolderWeights) or not recipe.is_trained(name):
            continue
        config = _read(weights.path / "config.json")
        kind = config.get("model_type")
        if config and kind not in TRAINED_EXACTLY:
            yield (
                f"models.{name}.weights.path: {weights.path} holds a model of type {kind!r}, which "
                f"training does not compute exactly; choose one of {', '.join(sorted(TRAINED_EXACTLY))}"
            )


def _endpoint_mistakes(recipe: Recipe) -> Iterator[str]:
    """Of models at an endpoint, whose weights nobody has."""
    remote = {
        name for name, model in recipe.models.items() if isinstance(model.weights, EndpointWeights)
    }
    for name, model in recipe.models.items():
        if model.stages and (root := recipe.root(recipe.last_checkpoint(name))) in remote:
            yield f"models.{name}.start: {root} answers at an endpoint; start from weights that are here"
    for name, suite in recipe.suites.items():
        asked = remote & {reference.partition("/")[0] for reference in suite.models}
        if asked and not suite.asks_endpoints:
            yield (
                f"suites.{name}.models: {min(asked)} answers at an endpoint, which suites of kind "
                f"{suite.kind} cannot ask; leave it out"
            )


def _vocabulary_mistakes(recipe: Recipe) -> Iterator[str]:
    """Models that train on one mixture read the same ids; of those not at hand training finds it out."""
    for mixture, section in recipe.mixtures.items():
        trained = [
            f"{name}/{stage.name}"
            for name, model in recipe.models.items()
            for stage in model.stages
            if stage.mixture == mixture
        ]
        yield from _ids_mistakes(recipe, f"mixtures.{mixture}", section.vocabulary, trained)
        roots = {recipe.root(checkpoint) for checkpoint in trained}
        found = {root: _vocabulary(recipe.models[root].weights) for root in roots}
        known = {root: vocabulary for root, vocabulary in found.items() if vocabulary}
        if len(set(known.values())) > 1:
            yield (
                f"mixtures.{mixture}: {', '.join(sorted(known))} have different tokenizers, but a mixture "
                "is packed with one; give each tokenizer a mixture of its own"
            )


def _ids_mistakes(
    recipe: Recipe, place: str, vocabulary: int | None, checkpoints: list[str]
) -> Iterator[str]:
    """Of models that read the `vocabulary` token ids of a mixture or a suite, which stand for no text."""
    for root in sorted({recipe.root(checkpoint) for checkpoint in checkpoints}):
        weights = recipe.models[root].weights
        if isinstance(weights, RandomWeights):
            if vocabulary is None:
                yield f"{place}: is text, but {root} has random weights and no tokenizer; leave it out"
            elif weights.vocabulary < vocabulary:
                yield (
                    f"models.{root}.weights.vocabulary: {place} holds {vocabulary} token ids, "
                    f"not {weights.vocabulary}"
                )
        elif vocabulary is not None:
            yield f"{place}: its token ids stand for no text, but {root} has a tokenizer; leave it out"


def _suite_vocabulary_mistakes(recipe: Recipe) -> Iterator[str]:
    checkpoints = set(recipe.checkpoints())
    for name, suite in recipe.suites.items():
        known = [model for model in suite.models if model in recipe.models or model in checkpoints]
        asked = [recipe.resolve(model) for model in known]
        yield from _ids_mistakes(recipe, f"suites.{name}", suite.vocabulary, asked)


def _vocabulary(weights: Any) -> str | None:
    """Digest of the vocabulary of weights that are at hand."""
    if not isinstance(weights, FolderWeights):
        return None
    state = _read(weights.path / "tokenizer.json")
    if "model" not in state:
        return None
    added = {token["content"]: token["id"] for token in state.get("added_tokens", [])}
    return digest([state["model"], added])


def _read(path: Path) -> dict[str, Any]:
    """A JSON file of a model's folder; empty where it cannot be read, which whoever loads the model says."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _order_mistakes(recipe: Recipe) -> Iterator[str]:
    """Of stages that are shorter than what they start from, or turn positions faster."""
    for name, model in recipe.models.items():
        for position, stage in enumerate(model.stages):
            start = recipe.start_of(f"{name}/{stage.name}")
            before = recipe.stage(start) if start else None
            place = f"models.{name}.stages[{position}]"
            if stage.continue_optimizer and (before is None or before.tokens == 0):
                yield (
                    f"{place}.continue_optimizer: {start} was not trained here and has no optimizer state; "
                    "take it out"
                )
            if before is None or stage.shorter:
                continue
            if stage.length < before.length:
                yield (
                    f"{place}.length: {stage.length} is shorter than its start {start} with "
                    f"{before.length}; give at least that, or set shorter"
                )
            base, earlier = stage.rope_base, before.rope_base
            if isinstance(base, float) and isinstance(earlier, float) and base < earlier:
                yield (
                    f"{place}.rope_base: {base:g} is below that of its start {start}, {earlier:g}: a longer "
                    "context needs a larger one, or set shorter"
                )


def _synthesis_mistakes(recipe: Recipe) -> Iterator[str]:
    synthesis = recipe.synthesis
    if synthesis is None:
        parts = (part for part in ("corpora", "encoders", "generators") if getattr(recipe, part))
        yield from (f"{part}: without a section synthesis they have no effect" for part in parts)
        return
    for setting, known in (
        ("corpus", recipe.corpora),
        ("encoder", recipe.encoders),
        ("target", recipe.models),
    ):
        name = getattr(synthesis, setting)
        if name is not None and name not in known:
            yield _unknown(f"synthesis.{setting}", name, known)
    if not recipe.generators:
        yield "generators: synthesis needs at least one"
    for name, generator in recipe.generators.items():
        yield from _generator_mistakes(recipe, synthesis, name, generator)
    if (tasks := synthesis.document_tasks) is not None:
        place = "synthesis.document_tasks.prompts"
        yield from _set_mistakes(place, load_document_prompts, tasks.prompts)
    if (multi_hop := synthesis.multi_hop) is not None:
        place = "synthesis.multi_hop.prompts"
        yield from _set_mistakes(place, load_multi_hop_prompts, multi_hop.prompts)
    long_output = synthesis.long_output
    if long_output is not None and long_output.minimum_tokens > long_output.maximum_tokens:
        yield "synthesis.long_output.minimum_tokens: is above maximum_tokens"


def _generator_mistakes(
    recipe: Recipe, synthesis: Synthesis, name: str, generator: Generator
) -> Iterator[str]:
    if synthesis.long_input is not None:
        yield from _long_input_mistakes(name, generator, synthesis.long_input)
    elif synthesis.long_output is not None:
        yield from _set_mistakes(f"generators.{name}.prompts", load_prompt_set, generator.prompts)
    if (section := synthesis.long_output) is not None:
        asked = ("long_output.excerpt_tokens", section.excerpt_tokens, section.instruction_tokens)
        yield from _room_mistakes(name, generator, *asked)
    if (tasks := synthesis.document_tasks) is not None:
        needed = tasks.chunk_tokens + max(tasks.reply_tokens, tasks.summary_tokens)
        held = "a chunk and a reply"
        yield from _window_mistakes(name, generator, "document_tasks", held, needed)
    if (hops := synthesis.multi_hop) is not None:
        needed = 2 * hops.chunk_tokens + max(hops.reply_tokens, hops.answer_tokens)
        held = "two chunks and a reply"
        yield from _window_mistakes(name, generator, "multi_hop", held, needed)
    if generator.tokenizer is not None and generator.tokenizer not in recipe.models:
        yield _unknown(f"generators.{name}.tokenizer", generator.tokenizer, recipe.models)


def _set_mistakes(place: str, load: Callable[[str], object], reference: str) -> Iterator[str]:
    """What is wrong in a set of prompts."""
    try:
        load(reference)
    except UserError as mistake:
        yield f"{place}: {mistake}"


def _long_input_mistakes(name: str, generator: Generator, section: LongInput) -> Iterator[str]:
    yield from _prompt_mistakes(f"generators.{name}", generator.prompts, section)
    needed = section.chunk_tokens + section.instruction_tokens + section.summary_tokens
    held = "a chunk, an instruction and a summary"
    yield from _window_mistakes(name, generator, "long_input", held, needed)
    asked = ("long_input.answer_tokens", section.answer_tokens, section.instruction_tokens)
    yield from _room_mistakes(name, generator, *asked)


def _room_mistakes(
    name: str, generator: Generator, setting: str, asked: int, instruction: int
) -> Iterator[str]:
    if asked + instruction > generator.context_tokens:
        yield (
            f"synthesis.{setting}: {asked} and an instruction of {instruction} are more than the "
            f"context of generators.{name}, {generator.context_tokens}"
        )


def _window_mistakes(
    name: str, generator: Generator, kind: str, held: str, needed: int
) -> Iterator[str]:
    """held: what one call of a kind of samples holds; needed: the tokens of it all."""
    if needed > generator.context_tokens:
        yield (
            f"generators.{name}.context_tokens: {generator.context_tokens} does not hold {held} ({needed}); "
            f"lower synthesis.{kind}.chunk_tokens"
        )


def _prompt_mistakes(place: str, reference: str, section: LongInput) -> Iterator[str]:
    """What is wrong in a generator's prompt set, and what the recipe names that it does not have."""
    try:
        prompts = load_prompt_set(reference)
    except UserError as mistake:
        yield f"{place}.prompts: {mistake}"
        return
    rules = prompts.rules
    if section.follow_ups and "follow_up" not in prompts.prompts:
        yield (
            f"synthesis.long_input.follow_ups: the prompts of {place} have no follow_up.md: take the set "
            "full, or write one"
        )
    lists: dict[str, Mapping[str, object]] = {
        "families": rules.families,
        "readers": rules.readers,
        "forms": rules.forms,
    }
    for setting, known in lists.items():
        for name in getattr(section, setting):
            if name not in known:
                yield (
                    f"synthesis.long_input.{setting}: of the prompts of {place} "
                    f"{does_not_exist(name, known)}"
                )
    if rules.lengths and section.answer_words is None:
        yield (
            f"synthesis.long_input.answer_words: is missing, but the prompts of {place} ask for a length: "
            "give {minimum: 50, maximum: 1500} or what you want"
        )


def _mixture_mistakes(recipe: Recipe) -> Iterator[str]:
    for name, mixture in recipe.mixtures.items():
        place = f"mixtures.{name}"
        for entry_name, entry in mixture.entries.items():
            if hasattr(list, entry_name) or hasattr(dict, entry_name):
                yield f"{place}.entries.{entry_name}: Snakemake keeps this name; give another one"
            yield from _source_mistakes(
                recipe, f"{place}.entries.{entry_name}.source", entry.source
            )
        for suite in mixture.contamination.suites:
            if suite not in recipe.suites:
                yield _unknown(f"{place}.contamination.suites", suite, recipe.suites)
        lengths: dict[str, int] = {}
        for model in recipe.models.values():
            for stage in model.stages:
                if (
                    stage.mixture == name
                    and lengths.setdefault(stage.name, stage.length) != stage.length
                ):
                    yield (
                        f"{place}: stage {stage.name!r} has the lengths {lengths[stage.name]} and "
                        f"{stage.length} in different models; a stage of a mixture is packed once, "
                        "so give the stages different names"
                    )


def _source_mistakes(recipe: Recipe, place: str, source: ConversationSection) -> Iterator[str]:
    made_for, made = source.tokenised_for, source.synthesised
    tokenizer = f"{place}.tokenizer"
    for model in made_for:
        if mistake := _reference_mistake(recipe, tokenizer, model):
            yield mistake
    if made is not None and made.generator not in recipe.generators:
        yield _unknown(f"{place}.generator", made.generator, recipe.generators)
    synthesis = recipe.synthesis
    moved = made is not None and made.instruction_position is not None
    if made is not None and synthesis is not None and made.samples not in synthesis.kinds:
        yield f"{place}.samples: synthesis makes no {made.samples}; give synthesis.{made.samples}"
    elif moved and synthesis and synthesis.needed_long_input.instruction_position != "before":
        yield (
            f"{place}.instruction_position: it moves instructions that stand before the documents, but those "
            f"of synthesis.long_input stand {synthesis.needed_long_input.instruction_position}; take it out"
        )
    if source.of_corpus is not None and source.of_corpus not in recipe.corpora:
        yield _unknown(f"{place}.corpus", source.of_corpus, recipe.corpora)


def _evaluation_mistakes(recipe: Recipe) -> Iterator[str]:
    for name, suite in recipe.suites.items():
        for reference in suite.models:
            if mistake := _reference_mistake(recipe, f"suites.{name}.models", reference):
                yield mistake
                break
        else:
            checkpoints = [recipe.resolve(reference) for reference in suite.models]
            for twice in {name for name in checkpoints if checkpoints.count(name) > 1}:
                yield f"suites.{name}.models: {twice} stands twice"
            yield from _reasoning_mistakes(recipe, name, checkpoints)
            if _asks_nothing(recipe, name):
                yield (
                    f"suites.{name}.lengths: no model supports {min(recipe.suites[name].lengths)}; "
                    "give a shorter one, or leave the suite out"
                )
    for row, reference in recipe.report.ablation.items():
        if mistake := _reference_mistake(recipe, f"report.ablation.{row!r}", reference):
            yield mistake


def _asks_nothing(recipe: Recipe, name: str) -> bool:
    """Whether no model supports any length that a suite asks it at, so that it would have no score."""
    suite = recipe.suites[name]
    if suite.lengths_of_answers or suite.carries_predictions or not suite.lengths:
        return False
    return all(
        length > (recipe.models[reference.partition("/")[0]].supports or length)
        for reference in suite.models
        for length in suite.asked_of(reference).lengths
    )


def _reasoning_mistakes(recipe: Recipe, suite: str, checkpoints: list[str]) -> Iterator[str]:
    """Of models that reason where the prompt begins the answer already."""
    if recipe.suites[suite].begins_answers:
        for checkpoint in checkpoints:
            chat = recipe.models[checkpoint.partition("/")[0]].chat
            if chat is not None and chat.reasoning_end is not None:
                yield (
                    f"suites.{suite}.answer_prefix: {checkpoint} reasons before it answers, but the prompts "
                    "begin the answer; set answer_prefix to false"
                )


def _published_mistakes(recipe: Recipe) -> Iterator[str]:
    """Of names that no paper prints."""
    printed = cells()
    models = {cell.model for cell in printed}
    for name, model in recipe.models.items():
        if model.published is not None and model.published not in models:
            yield _unknown(f"models.{name}.published", model.published, models)
    tables = {cell.table for cell in printed if cell.paper == recipe.report.paper}
    for name, section in recipe.report.printed.items():
        if name not in tables:
            yield _unknown("report.printed", name, tables)
            continue
        there = [
            cell for cell in printed if (cell.paper, cell.table) == (recipe.report.paper, name)
        ]
        for setting, given, known in (
            ("rows", section.rows, {cell.model for cell in there}),
            ("columns", section.columns, {cell.metric for cell in there}),
            ("contexts", section.contexts, {cell.context_length for cell in there}),
        ):
            for word in given:
                if word not in known:
                    yield _unknown(f"report.printed.{name}.{setting}", word, known)


OWN_FIGURES = ("loss_by_stage", "data_funnel")
OWN_BEGINNINGS = ("diversity_", "document_lengths_", "sample_lengths_", "synthesis_")
"""Of tables and figures that the report makes for each corpus, generator and mixture; those of a suite begin
with the suite's name."""
TAKEN = {"suites": ("texts.parquet",), "models": ("scores.parquet", "stored.parquet")}
"""Files that lie where folders of these names would (`results.Results`)."""
OWN_NAME = "the report keeps this name for tables or figures of its own; give another one"


def _name_mistakes(recipe: Recipe) -> Iterator[str]:
    """Of what would have one name: folders and files of the results, tables and figures."""
    for part, files in TAKEN.items():
        for name in sorted({*files} & {*getattr(recipe, part)}):
            yield f"{part}.{name}: a file of the results has this name; give another one"
    for name in recipe.suites:
        if f"{name}_".startswith(OWN_BEGINNINGS):
            yield f"suites.{name}: {OWN_NAME}"
    for name in recipe.report.curves:
        place = f"report.curves.{name}"
        if name in OWN_FIGURES or name.startswith(OWN_BEGINNINGS):
            yield f"{place}: {OWN_NAME}"
        for suite in recipe.suites:
            if name == suite or name.startswith(f"{suite}_"):
                yield f"{place}: a figure of suites.{suite} may have this name; give another one"


def _report_mistakes(recipe: Recipe) -> Iterator[str]:
    """Of neighbours that nobody measures."""
    report = recipe.report
    for name, curve in report.curves.items():
        place = f"report.curves.{name}"
        if curve.columns_of is not None and curve.columns_of not in report.printed:
            yield _unknown(f"{place}.columns_of", curve.columns_of, report.printed)
            continue
        for point in curve.points:
            yield from _unmeasured(recipe, place, point.model, *report.drawn(curve))
    for name, table in report.printed.items():
        for row, reference in table.rows.items():
            place = f"report.printed.{name}.rows.{row!r}"
            contexts = list(table.contexts.values())
            yield from _unmeasured(recipe, place, reference, table.columns, contexts)
    for checkpoint in report.costs:
        if checkpoint not in set(recipe.checkpoints()):
            yield _unknown("report.costs", checkpoint, set(recipe.checkpoints()))


def _unmeasured(
    recipe: Recipe,
    place: str,
    reference: str,
    columns: Mapping[str, Neighbour],
    contexts: Sequence[int],
) -> Iterator[str]:
    """Why a row of a printed table, or a point of a curve, lacks a neighbour in one of its columns."""
    if mistake := _reference_mistake(recipe, place, reference):
        yield mistake
        return
    checkpoint = recipe.resolve(reference)
    for name, column in columns.items():
        for part in column.parts:
            lengths = contexts or part.lengths
            of = (recipe.start_of(checkpoint) or checkpoint) if part.before else checkpoint
            for mistake in _unasked(recipe, part, of, lengths):
                yield f"{place}: column {name!r}: {mistake}"


def _unasked(
    recipe: Recipe, part: Neighbour, checkpoint: str, lengths: Sequence[int]
) -> Iterator[str]:
    """What of a score a suite does not measure."""
    name = str(part.suite)
    if name not in recipe.suites:
        yield does_not_exist(name, recipe.suites)
        return
    suite = recipe.suites[name]
    supports = recipe.models[checkpoint.partition("/")[0]].supports
    if lengths and supports is not None and min(lengths) > supports:
        return  # the table says so
    # A model that does not exist is said where it is named.
    asked = (model for model in suite.models if model.partition("/")[0] in recipe.models)
    if checkpoint not in {recipe.resolve(model) for model in asked}:
        yield f"suite {name} does not ask {checkpoint}"
    for length in set(lengths) - set(suite.lengths):
        yield f"suite {name} does not ask at {length}"
    tasks = suite.asked_tasks or part.tasks
    for task in set(part.tasks) - {*tasks, MEAN_OF_TASKS}:
        yield f"suite {name} has no task {task!r}"
