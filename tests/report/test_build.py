"""Figures, workflow figure, page and manifest: complete, offline, and the same bytes every time."""

import hashlib
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rocrate.rocrate import ROCrate

from selflong.drawing import SUFFIXES
from selflong.formats import file_sha256, write_json
from selflong.hub import RECORD
from selflong.job import UserError
from selflong.recipe.checks import OWN_BEGINNINGS, OWN_FIGURES
from selflong.recipe.recipe import Recipe
from selflong.recipe.weights import HubWeights
from selflong.report import rule_graph
from selflong.report.build import (
    read_scores,
    report_figures,
    report_tables,
    write_report_figures,
)
from selflong.report.counts import document_lengths, funnel, synthesis_steps
from selflong.report.manifest import bill_of_materials, commit_date, downloads
from selflong.results import Results
from tests.report.conftest import DOT, page_of

REPOSITORY = Path(__file__).parent.parent.parent

STAGES = {
    "corpus": ["scan_documents"],
    "training": ["load_model"],
    "evaluation": ["evaluate", "score"],
    "report": ["page"],
}


class Page(HTMLParser):
    """Links, images, headings and the balance of tags."""

    VOID = frozenset({"meta", "br", "img", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.images: list[str] = []
        self.identifiers: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.identifiers |= {str(values["id"])} if "id" in values else set()
        if tag == "a":
            self.links.append(str(values["href"]))
        if tag == "img":
            self.images.append(str(values["src"]))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_figure_has_three_formats(laptop: Recipe, report: Results) -> None:
    drawn = report_figures(laptop, report, read_scores(laptop, report))
    names = {figure.name for figure in drawn}
    assert names == {
        "recall_by_length",
        "ruler_by_length",
        "needle_grid_heatmap",
        "loss_by_stage",
        "data_funnel",
        "document_lengths_documents",
        "sample_lengths_full",
        "synthesis_smollm2",
    }
    for name in names:
        for suffix in SUFFIXES:
            assert (report.figures / f"{name}.{suffix}").stat().st_size > 2000


def test_the_data_tables_count_what_the_stages_left(laptop: Recipe, report: Results) -> None:
    made = {
        table.name: table for table in report_tables(laptop, report, read_scores(laptop, report))
    }
    retrieval, overlaps = made["retrieval"], made["overlaps"]
    assert [row[2].text for row in retrieval.rows] == ["1", "10", "100"]
    assert [row[3].text for row in retrieval.rows] == ["99.0", "98.0", "97.0"]
    assert [row[4].text for row in retrieval.rows] == ["", "", "12.5"]
    assert retrieval.columns[-3:] == ("Similarity, 5%", "Similarity, 50%", "Similarity, 95%")
    assert [tuple(cell.text for cell in row) for row in overlaps.rows] == [
        ("corpus documents", "a", "ruler", "2", "1", "40.0", "reported"),
        ("mixture full", "all", "all", "0", "0", "0.0", "reported"),
    ]
    assert {cell.file for row in overlaps.rows for cell in row} == {
        None,
        "corpus/documents/overlaps",
        "mixtures/full/512/contamination.parquet",
    }
    assert document_lengths(laptop, report, "documents") == {"documents": {64: 2, 1024: 4}}


def test_the_funnel_counts_samples_and_not_what_was_read_on_the_way(
    laptop: Recipe, report: Results
) -> None:
    (generator,) = laptop.generators
    steps = {(part, what): rows for part, what, rows in funnel(laptop, report)}
    made = [(step.step, step.source, step.rows) for step in synthesis_steps(laptop, report, generator)
            if step.outcome == "kept"]  # fmt: skip
    assert ("long_input", "chunks", 1000) in made
    (kept,) = (rows for step, source, rows in made if step == source == "long_input")
    assert steps[generator, "long input kept"] == kept


def test_figures_have_the_same_bytes_every_time(
    laptop: Recipe, report: Results, tmp_path: Path
) -> None:
    write_report_figures(laptop, report, tmp_path / "again")
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (report.figures / path.name).read_bytes(), path.name


def test_the_page_opens_without_a_network_and_its_links_lead_somewhere(
    laptop: Recipe, report: Results
) -> None:
    path = report.page
    page = Page()
    page.feed(path.read_text())
    assert page.open == []
    assert len(page.images) == 1 + 8
    assert all(image.startswith("data:image/svg+xml;base64,") for image in page.images)
    for made in report_tables(laptop, report, read_scores(laptop, report)):
        assert f"table-{made.name}" in page.identifiers
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.identifiers
        else:
            assert (path.parent / link).exists(), link


def test_the_manifest_holds_the_digest_of_every_file(laptop: Recipe, report: Results) -> None:
    manifest = json.loads(report.manifest.read_text())
    assert manifest["recipe"] == laptop.model_dump(mode="json")
    assert manifest["seeds"]["seed"] == laptop.seed
    assert "polars" in manifest["packages"]
    outputs = {file["path"]: file["sha256"] for file in manifest["outputs"]}
    page = report.page.read_bytes()
    assert outputs["report/report.html"] == hashlib.sha256(page).hexdigest()
    assert "evaluation/ruler/scores.parquet" in outputs
    inputs = {file["path"]: file["sha256"] for file in manifest["inputs"]}
    for name in ("recipes/laptop.yaml", "resources/published_results.csv", "selflong/scores.py"):
        assert inputs[name] == file_sha256(REPOSITORY / name)


def test_the_crate_is_closed_and_names_its_workflow(report: Results) -> None:
    graph = json.loads(report.crate.read_text())["@graph"]
    entities = {entity["@id"]: entity for entity in graph}
    assert len(entities) == len(graph)
    root = entities["./"]
    for reference in (*root["hasPart"], *root["conformsTo"], *root["mentions"], root["mainEntity"]):
        assert reference["@id"] in entities
    main = entities[root["mainEntity"]["@id"]]
    assert "ComputationalWorkflow" in main["@type"]
    assert main["programmingLanguage"]["@id"] in entities
    action = entities["#run"]
    assert action["instrument"] == root["mainEntity"]
    for reference in (*action["object"], *action["result"]):
        assert (report.root / reference["@id"]).is_file()
        assert entities[reference["@id"]]["sha256"] == file_sha256(report.root / reference["@id"])


def test_the_crate_is_read_by_the_library_of_its_authors(report: Path) -> None:
    crate = ROCrate(report.root)
    assert crate.mainEntity.id == "workflow/Snakefile"
    assert crate.mainEntity["programmingLanguage"]["name"] == "Snakemake"
    assert {part.id for part in crate.data_entities} >= {
        "evaluation/ruler/scores.parquet",
        "report/report.html",
    }
    assert crate.root_dataset["datePublished"] == commit_date()


def test_the_bill_of_materials_names_every_package() -> None:
    bill = bill_of_materials({"torch": "2.13.0+cpu", "typing_extensions": "4.15.0"})
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert [component["purl"] for component in bill["components"]] == [
        "pkg:pypi/torch@2.13.0%2Bcpu",
        "pkg:pypi/typing-extensions@4.15.0",
    ]


def test_the_manifest_names_the_commit_of_what_was_downloaded(
    laptop: Recipe, tmp_path: Path
) -> None:
    weights = HubWeights(kind="hub", repository="owner/model", revision="main")
    base = laptop.models["base"].model_copy(update={"weights": weights})
    recipe = laptop.model_copy(update={"models": {**laptop.models, "base": base}})
    record = {"kind": "model", "repository": "owner/model", "revision": "main", "commit": "a" * 40}
    write_json({**record, "files": {}}, tmp_path / "downloads" / "model" / RECORD)
    other = {**record, "revision": "v2", "files": {}}
    write_json(other, tmp_path / "downloads" / "other" / RECORD)
    assert downloads(recipe, Results(tmp_path / "laptop")) == [record]


def test_text_of_a_recipe_is_text_on_the_page_and_in_its_summary(
    laptop: Recipe, report: Results, tmp_path: Path
) -> None:
    text = "<script>alert(1)</script>\n# a"
    models = {
        name: model.model_copy(update={"label": f"{text} {name}"})
        for name, model in laptop.models.items()
    }
    update = {"description": text, "deviations": [text], "models": models}
    page = tmp_path / "report.html"
    page_of(laptop.model_copy(update=update), report, page, tmp_path)
    for path in (page, tmp_path / "summary.md"):
        written = path.read_text(encoding="utf-8")
        assert "<script>alert" not in written
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in written
    assert "\n# a" not in written


def test_what_is_made_of_each_part_has_a_name_that_no_suite_can_have(
    laptop: Recipe, report: Results
) -> None:
    scores = read_scores(laptop, report)
    tables = {table.name for table in report_tables(laptop, report, scores)}
    figures = {figure.name for figure in report_figures(laptop, report, scores)}
    parts = (laptop.corpora, laptop.generators, laptop.mixtures)
    of_suites = tuple(f"{suite}_" for suite in laptop.suites)
    for name in {name for name in tables | figures if not name.startswith(of_suites)}:
        if any(name.endswith(f"_{part}") for names in parts for part in names):
            assert name.startswith(OWN_BEGINNINGS)
        else:
            assert name in tables or name in OWN_FIGURES


def test_the_rule_graph_is_read_and_reduced() -> None:
    rules, edges = rule_graph.parse_rule_graph(DOT)
    assert len(rules) == 6
    assert ("evaluate", "page") in edges
    reduced = rule_graph.without_shortcuts(rules, edges)
    assert ("evaluate", "page") not in reduced
    assert ("load_model", "evaluate") not in reduced
    assert {("evaluate", "score"), ("score", "page"), ("load_model", "scan_documents")} <= reduced


def test_rules_stand_in_their_stage_and_sources_where_they_are_first_read() -> None:
    rules, edges = rule_graph.parse_rule_graph(DOT)
    placed = rule_graph.columns(rules, edges, STAGES)
    assert placed == {
        "corpus": ["load_model", "scan_documents"],
        "evaluation": ["evaluate", "score"],
        "report": ["page"],
    }


def test_a_graph_without_rules_or_with_a_circle_is_refused() -> None:
    with pytest.raises(UserError, match="holds no rule"):
        rule_graph.parse_rule_graph("Building DAG of jobs...")
    with pytest.raises(UserError, match="circle"):
        rule_graph.columns(["a", "b"], {("a", "b"), ("b", "a")}, {"corpus": ["a", "b"]})
