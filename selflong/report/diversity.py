"""How much the synthesised instructions differ, how long answers are, and where what they say is from."""

import polars as pl

from selflong.formats import ANSWERS, INSTRUCTIONS, read_parquets
from selflong.recipe.recipe import Recipe
from selflong.results import Results, synthesis_shards
from selflong.similarity import nearest_jaccard
from selflong.tables import Cell, Table, number_cell

COMPARED = 300
"""Instructions of a kind that are compared with each other, at even distances of all."""
EVERYTHING = "all"


def diversity(recipe: Recipe, results: Results, generator: str) -> Table:
    """A row for each kind of instruction, and one for all."""
    shards = synthesis_shards(recipe, "long_input")
    asked_in = [results.instructions(generator, shard) for shard in shards]
    answered_in = [results.answers(generator, shard) for shard in shards]
    asked = read_parquets(asked_in, INSTRUCTIONS)
    answered = read_parquets(answered_in, ANSWERS)
    both = asked.select("sample_id", "family", "instruction", "answer_words").join(
        answered, on="sample_id", how="left", maintain_order="left"
    )
    files = [str(paths[0].parent.relative_to(results.root)) for paths in (asked_in, answered_in)]
    kinds = sorted(both["family"].unique())
    return Table(
        name=f"diversity_{generator}",
        title=f"Instructions and answers of {generator}",
        caption="Instructions by kind, without closing sentences, and the samples that were kept of them. "
        "Likeness: of an instruction to the nearest other one, Jaccard similarity of their words, over "
        f"{COMPARED} of a kind at most. Of the words that carry content in an answer, and of its facts "
        "(figures and names that its instruction does not have), the share found in the sample's documents "
        "and in the summaries it was written from.",
        columns=(
            "Kind", "Instructions", "Words", "Likeness (%)", "Answers", "Words asked", "Words given",
            "Content in documents (%)", "Facts in documents (%)", "Facts in summaries (%)",
        ),
        rows=tuple(
            _row(kind, both if kind == EVERYTHING else both.filter(family=kind), files)
            for kind in (*kinds, EVERYTHING)
        ),
    )  # fmt: skip


def _row(kind: str, rows: pl.DataFrame, files: list[str]) -> tuple[Cell, ...]:
    asked, answered = files
    kept = rows.filter(pl.col("words").is_not_null())
    texts = rows["instruction"].gather_every(max(1, rows.height // COMPARED))[:COMPARED].to_list()
    likeness = nearest_jaccard(texts, 1)
    return (
        Cell(kind.replace("_", " ")),
        number_cell(rows.height, file=asked),
        _mean(rows["instruction"].str.split(" ").list.len(), asked),
        _mean(pl.Series(100 * likeness), asked, digits=1),
        number_cell(kept.height, file=answered),
        _mean(kept["answer_words"], asked),
        _mean(kept["words"], answered),
        _mean(100 * kept["content_in_documents"], answered, digits=1),
        _share(kept, "facts_in_documents", answered),
        _share(kept, "facts_in_summaries", answered),
    )


def _mean(values: pl.Series, file: str, digits: int = 0) -> Cell:
    mean = values.drop_nulls().mean()
    return Cell("") if not isinstance(mean, float) else number_cell(mean, digits, file)


def _share(rows: pl.DataFrame, column: str, file: str) -> Cell:
    facts = int(rows["facts"].sum())
    return number_cell(100 * int(rows[column].sum()) / facts, 1, file) if facts else Cell("")
