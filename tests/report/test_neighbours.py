"""ProLong's printed cells beside what its recipe measures: each is mapped, or the recipe says why not."""

import io

import numpy as np
import polars as pl
import pytest

from selflong.formats import MEAN_OF_TASKS, SCORES, table
from selflong.recipe.published import PUBLISHED_RESULTS
from selflong.recipe.recipe import Recipe, tokens_of_stage
from selflong.recipe.report import Curve, Neighbour
from selflong.report import neighbours, published
from selflong.suites.measured import Measured
from selflong.tables import NOT_RUN, NOT_SUPPORTED, Table


@pytest.fixture(scope="module")
def printed() -> pl.DataFrame:
    cells = published.read(PUBLISHED_RESULTS)
    return cells.filter(pl.col("paper") == "ProLong")


@pytest.fixture(scope="module")
def measured(prolong: Recipe, printed: pl.DataFrame) -> Measured:
    """A run in which all is measured that the recipe asks, each score another one."""
    random = np.random.default_rng(0)
    rows = []
    for name, suite in prolong.suites.items():
        tasks = suite.asked_tasks or ("needle",)
        for checkpoint in map(prolong.resolve, suite.models):
            for length in getattr(suite, "lengths", None) or [None]:
                for task in [*tasks, MEAN_OF_TASKS]:
                    mean = float(random.uniform(0.1, 0.9))
                    rows.append(
                        {
                            "suite": name, "model": checkpoint, "task": task, "length": length,
                            "mean": mean, "low": mean - 0.1, "high": mean + 0.05, "samples": 100,
                            "files": ["a"],
                        }
                    )  # fmt: skip
    return Measured(prolong, table(rows, SCORES), printed)


def test_every_printed_cell_is_mapped_or_has_its_reason(
    prolong: Recipe, printed: pl.DataFrame
) -> None:
    report = prolong.report
    assert set(report.printed).isdisjoint(report.not_measured)
    for name, row, column, context in printed.select(
        "table", "model", "metric", "context_length"
    ).rows():
        if name in report.not_measured:
            continue
        section = report.printed[name]
        assert (row in section.rows) != (row in section.not_measured), (name, row)
        assert (column in section.columns) != (column in section.not_measured), (name, column)
        assert not section.contexts or context in section.contexts, (name, context)


def test_no_neighbour_is_of_a_cell_that_is_not_printed(
    prolong: Recipe, printed: pl.DataFrame
) -> None:
    for name, section in prolong.report.printed.items():
        cells = printed.filter(pl.col("table") == name)
        assert {*section.rows, *section.not_measured} <= {*cells["model"], *cells["metric"]}, name
        assert set(section.columns) <= set(cells["metric"]), name
        assert set(section.contexts) <= set(cells["context_length"]), name
    figures = {name for name in prolong.report.not_measured if name.startswith("Figure")}
    drawn = {name.partition("_")[0].capitalize() for name in prolong.report.curves}
    assert figures | drawn == {f"Figure{number}" for number in (1, 2, 3, 4)}
    tables = set(prolong.report.not_measured) - figures
    assert tables <= set(printed["table"])


def test_what_a_run_measures_stands_beside_each(measured: Measured, printed: pl.DataFrame) -> None:
    made = {made.name: made for made in neighbours.tables(measured)}
    beside = {f"beside_prolong_{name}".lower() for name in measured.recipe.report.printed}
    assert set(made) == beside | {"not_measured"}
    reasons = {(row[0].text, row[1].text) for row in made["not_measured"].rows}
    assert {("Table12", "all"), ("Table26", "GPT-4o"), ("Table26", "InfBench-Avg")} <= reasons
    for name, section in measured.recipe.report.printed.items():
        found = made[f"beside_prolong_{name}".lower()]
        cells = printed.filter(
            (pl.col("table") == name)
            & pl.col("model").is_in(list(section.rows))
            & pl.col("metric").is_in(list(section.columns))
        )
        published_cells = [row for row in found.rows if row[1].text == "published"]
        assert sum(bool(cell.text) for row in published_cells for cell in row[2:]) == cells.height
        for row in found.rows:
            if row[1].text == "measured":
                assert NOT_RUN not in {cell.text for cell in row}, (name, row[0].text)


def _row(found: Table, row: str) -> dict[str, float | None]:
    values = next(
        cells for cells in found.rows if (cells[0].text, cells[1].text) == (row, "measured")
    )
    return {name: cell.value for name, cell in zip(found.columns, values, strict=True)}


def test_a_mean_counts_categories_alike(measured: Measured) -> None:
    (found,) = (t for t in neighbours.tables(measured) if t.name == "beside_prolong_table4")
    row = _row(found, "Books")
    categories = ("Recall", "RAG", "Rerank", "ICL", "QA", "Summ")
    assert row["LongAvg"] == pytest.approx(sum(row[name] or 0 for name in categories) / 6)
    scores = measured.scores.filter(
        (pl.col("suite") == "helmet_dev")
        & (pl.col("model") == "long_books/sft")
        & pl.col("task").is_in(["NQ", "HotpotQA", "PopQA"])
    )
    assert scores.height == 6
    assert row["RAG"] == pytest.approx(100 * float(scores["mean"].mean()))  # type: ignore[arg-type]
    before = measured.scores.filter(
        (pl.col("suite") == "short_tasks")
        & (pl.col("model") == "long_books/64k")
        & (pl.col("task") != MEAN_OF_TASKS)
    )
    assert row["ShortAvg"] == pytest.approx(100 * float(before["mean"].mean()))  # type: ignore[arg-type]


def test_a_length_that_a_model_lacks_is_said(measured: Measured) -> None:
    (found,) = (t for t in neighbours.tables(measured) if t.name == "beside_prolong_table6")
    (row,) = (
        r for r in found.rows if (r[0].text, r[1].text) == ("Original Llama-3-8B", "measured")
    )
    assert row[found.columns.index("LongAvg")].text == NOT_SUPPORTED


def test_figures_draw_what_was_measured(measured: Measured) -> None:
    for figure in neighbours.figures(measured):
        drawn = figure.draw()
        curve = measured.recipe.report.curves[figure.name]
        columns, _ = measured.recipe.report.drawn(curve)
        panels = [axis for axis in drawn.axes if axis.get_title()]
        assert [axis.get_title() for axis in panels] == list(columns)
        for axis in panels:
            assert len(axis.containers) == 1
            assert len(axis.lines[0].get_xdata()) == len(curve.points)  # type: ignore[arg-type]
    nothing = Measured(measured.recipe, measured.scores.clear(), measured.printed)
    assert all(not figure.draw().axes[0].lines for figure in neighbours.figures(nothing))


def test_figure_1_shows_perplexity_beside_the_downstream_score(measured: Measured) -> None:
    (figure,) = (f for f in neighbours.figures(measured) if f.name == "figure1")
    first, second, *_ = figure.draw().axes
    assert (first.get_ylabel(), second.get_ylabel()) == ("perplexity", "score (%)")
    scores = measured.scores.filter(
        (pl.col("suite") == "perplexity") & (pl.col("task") == "documents")
    )
    means = dict(scores.select("model", "mean").rows())
    curve = measured.recipe.report.curves["figure1"]
    assert first.lines[0].get_ydata().tolist() == pytest.approx(  # type: ignore[union-attr]
        [1 / means[f"{point.model}/64k"] for point in curve.points]
    )


def test_words_of_a_curve_are_drawn_as_they_are_read(measured: Measured) -> None:
    text = r"$\frac{$"
    column = Neighbour(suite="perplexity", tasks=["documents"], lengths=[])
    points = measured.recipe.report.curves["figure1"].points
    curve = Curve(title=text, axis=text, points=points, columns={text: column})
    figure = neighbours.draw(measured, curve)
    figure.savefig(io.BytesIO(), format="svg")
    (axis,) = figure.axes
    drawn = [axis.get_title(), axis.get_xlabel(), figure.get_suptitle()]
    assert [word.replace(r"\$", "$") for word in drawn] == [text] * 3


def test_the_mixtures_have_the_printed_shares(prolong: Recipe, printed: pl.DataFrame) -> None:
    cells = {
        (name, row): float(value)
        for name, row, metric, value in printed.select("table", "model", "metric", "value").rows()
        if metric.startswith("percent")
    }
    kinds = {"code": "code repos", "books": "books", "textbooks": "textbooks"}
    short = {
        "fineweb_edu": "FineWeb-Edu", "fineweb": "FineWeb", "wikipedia": "Wikipedia",
        "stackexchange": "StackExchange", "tulu": "Tulu-v2", "openwebmath": "OpenWebMath",
        "arxiv": "ArXiv",
    }  # fmt: skip
    for mixture in ("stage_64k", "stage_512k"):
        shares = {
            name: entry.share or 0 for name, entry in prolong.mixtures[mixture].entries.items()
        }
        for kind, row in kinds.items():
            own = shares[kind] + shares.get(f"{kind}_long", 0)
            assert abs(100 * own - cells["Table9", f"stage1+2 data: {row}"]) < 0.5
        for name, row in short.items():
            printed_share = cells["Table9", f"ShortMix(final): {row}"] * 0.37
            assert abs(100 * shares[name] - printed_share) < 0.5
    long = prolong.mixtures["stage_512k"].entries
    for kind, row in (("code", "code repos"), ("books", "books")):
        own = (
            100
            * (long[f"{kind}_long"].share or 0)
            / (prolong.mixtures["stage_64k"].entries[kind].share or 1)
        )
        assert abs(own - cells["Table9", f"stage2 {row} at 512K"]) < 0.5
    ablation = prolong.mixtures["ablation"].entries
    for name, row in short.items():
        own = 100 * (ablation[name].share or 0) / 0.4
        assert own == pytest.approx(cells["Table5", f"ShortMix(ablation): {row}"])
    for name, mixture in prolong.mixtures.items():
        assert sum(entry.share or 0 for entry in mixture.entries.values()) == pytest.approx(
            1, abs=2e-3
        ), name


def test_the_stages_have_the_printed_settings(prolong: Recipe, printed: pl.DataFrame) -> None:
    cells = {
        (row, metric): value
        for name, row, metric, value in printed.select("table", "model", "metric", "value").rows()
        if name == "Table9"
    }
    first, second, sft = prolong.models["prolong"].stages
    for stage, row in ((first, "stage1"), (second, "stage2"), (sft, "SFT UltraChat")):
        assert stage.mixture is not None and stage.optimizer is not None
        billions = tokens_of_stage(prolong, stage.mixture, stage.name) / 2**30
        assert round(billions) == float(cells[row, "tokens_B"])
        rates = row if row.startswith("SFT") else "each stage"
        assert stage.optimizer.learning_rate == float(cells[rates, "lr_peak"])
        assert stage.optimizer.minimum_ratio * stage.optimizer.learning_rate == pytest.approx(
            float(cells[rates, "lr_final"])
        )
        assert stage.optimizer.warmup_share == float(cells[rates, "warmup_fraction"])
        assert stage.global_batch_tokens == int(cells[row, "batch_tokens"][0]) * 2**20
        assert stage.optimizer.weight_decay == float(cells["all", "weight_decay"])
        assert stage.optimizer.beta1 == float(cells["all", "adam_beta1"])
        assert stage.optimizer.beta2 == float(cells["all", "adam_beta2"])
    assert first.rope_base == float(cells["stage1", "rope_theta"])
    assert second.rope_base == float(cells["stage2", "rope_theta"])
    assert sft.rope_base == "keep"
    assert second.continue_optimizer and not first.continue_optimizer and not sft.continue_optimizer
