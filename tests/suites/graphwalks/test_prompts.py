"""GraphWalks from a hub: what is asked at which length, and how the named nodes are scored."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.llm.protocol import Endpoint
from selflong.suites.graphwalks.metric import metric, nodes, score
from selflong.suites.graphwalks.prompts import prompts
from selflong.suites.graphwalks.section import GraphWalks
from selflong.suites.graphwalks.texts import texts
from selflong.suites.prompt import Respondent
from selflong.tokens import Tokenizer
from tests.suites.downloads import download_from_hub, parquet
from tests.suites.jobs import job_of

SUITE = GraphWalks(
    kind="graphwalks", models=["m"], repository="openai/graphwalks", revision="main",
    lengths=[256, 512], problems=["bfs"], samples=1, answer_tokens=40,
)  # fmt: skip
NODES = st.lists(st.text("abcdef0123456789", min_size=1, max_size=10), max_size=6)


def sample(problem: str, edges: int) -> dict[str, Any]:
    graph = "\n".join(f"{number:04x} -> {number + 1:04x}" for number in range(edges))
    prompt = f"The graph has these edges:\n{graph}\n\nOperation:\nDo a {problem} from node 0000.\n"
    answer = [f"{number:04x}" for number in range(edges // 10)]
    return {
        "prompt": prompt,
        "answer_nodes": answer,
        "prompt_chars": len(prompt),
        "problem_type": problem,
        "date_added": "04-12-2025",
    }


@pytest.fixture(scope="module")
def download(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """At 256 a parents problem and two of bfs, at 512 one of bfs that is long, and one beyond."""
    short = [sample("parents", 10), sample("bfs", 10), sample("bfs", 11), sample("bfs", 30)]
    files = {
        "graphwalks_128k_and_shorter.parquet": parquet(short),
        "graphwalks_256k_to_1mil.parquet": parquet([sample("bfs", 400)]),
        "README.md": b"card",
    }
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("download") / "graphwalks"
        return download_from_hub(SUITE.download, files, folder, patch)


def test_a_length_is_asked_the_problems_that_it_holds(
    download: Path, smollm2_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    job = job_of("graphwalks", SUITE, tmp_path, tmp_path, files=[download])
    endpoint = Endpoint("", "", "m", "m", 1, 512, "none", "0")
    found = list(prompts(SUITE, Respondent(job, smollm2_tokenizer, endpoint, [256, 512])))
    assert [(prompt.task, prompt.length, prompt.index) for prompt in found] == [
        ("bfs", 256, 1),
        ("bfs", 512, 3),
    ]
    for prompt in found:
        ((role, text),) = prompt.turns
        assert role == "user" and text in prompt.text
        assert prompt.answer_tokens == min(40, 512 - len(prompt.ids))
        assert score(f"Final Answer: [{', '.join(prompt.answers)}]", prompt.answers) == 1.0


def test_its_texts_are_graphs_and_operations(download: Path) -> None:
    found = list(texts(SUITE, download))
    assert [name for name, _ in found] == ["graph", "operation"] * 5
    assert all("->" in text for name, text in found if name == "graph")
    assert found[1][1].startswith("Operation:\nDo a parents")


@settings(deadline=None)
@given(NODES, NODES)
def test_the_score_is_f1_of_sets(named: list[str], wanted: list[str]) -> None:
    found = score(f"Looking.\nFinal Answer: [{', '.join(named)}]\n", wanted)
    hits = len(set(named) & set(wanted))
    if not named and not wanted:
        assert found == 1.0
    elif hits == 0:
        assert found == 0.0
    else:
        precision, recall = hits / len(set(named)), hits / len(set(wanted))
        assert found == pytest.approx(2 * precision * recall / (precision + recall))


@settings(deadline=None)
@given(NODES)
def test_only_a_list_in_the_last_line_counts(wanted: list[str]) -> None:
    line = f"Final Answer: [{', '.join(wanted)}]"
    assert nodes(f"{line}\nThat is all.") is None
    assert metric("bfs")(f"{line}\nThat is all.", wanted) == 0.0
    assert nodes(line) == wanted
    assert nodes(f"So: {line} indeed") == wanted
    assert nodes("Final Answer: " + ", ".join(wanted)) is None


def test_quotes_and_spaces_are_no_part_of_a_node() -> None:
    assert nodes("Final Answer:['a', \"b\" ,c,]") == ["a", "b", "c"]
