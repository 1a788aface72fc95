"""The jobs that ask a generator: killed by SIGKILL half way and started again, and with a gate."""

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from selflong.formats import DROPS, INSTRUCTIONS, read_parquet
from selflong.formats import SAMPLES as MADE
from selflong.llm import Cache
from selflong.llm.protocol import request_key
from selflong.llm.serve import serve
from selflong.recipe.loading import load_site
from selflong.recipe.prompts import load_prompt_set
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.synthesis.instructions import ATTEMPTS, GIVEN_UP
from selflong.synthesis.quality import OTHER_FAMILY
from tests.synthesis.protocol_server import ProtocolServer, protocol_server
from tests.synthesis.test_workflow import Corpus, retrieve_everything
from tests.waiting import wait_for, wait_until_ended

ROOT = Path(__file__).parents[2]
KEY_VARIABLE = "SELFLONG_TEST_KEY"
SLOTS = 4
SAMPLES = 8
NAMED = {"instructions": INSTRUCTIONS, "samples": MADE}


@dataclass(frozen=True)
class Jobs:
    """The launchers on one corpus, as the rules call them; `work` keeps the answered requests."""

    server: ProtocolServer
    recipe: Recipe
    site: Site
    corpus: Corpus
    tokenizer: Path
    folder: Path

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def start(self, script: str, *options: object) -> subprocess.Popen[bytes]:
        name = script.removesuffix(".py")
        command = [
            *(sys.executable, ROOT / "scripts" / script),
            *("--recipe", self.folder / "laptop.yaml", "--site", self.folder / "site.yaml"),
            *("--generator-name", "smollm2", "--digest", "digest"),
            *("--documents", *self.corpus[0], "--work", self.work),
            *("--target", self.tokenizer, "--counter", self.tokenizer),
            *("--log", self.folder / "server.log"),
            *("--drops", self.folder / f"{name}.drops", "--usage", self.folder / f"{name}.usage"),
            *options,
        ]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(list(map(str, command)), env=environment)

    def finish(self, script: str, *options: object) -> None:
        job = self.start(script, *options)
        wait_until_ended(job.pid)
        assert job.wait() == 0

    def kill_half_way(self, answers: int, script: str, *options: object) -> None:
        """Kill the job when it waits for the answers after the first ones."""
        self.server.most = self.server.answered + answers
        job = self.start(script, *options)
        wait_for(lambda: self.server.answered >= self.server.most, job.pid)
        job.kill()
        job.wait()
        self.server.most = math.inf
        # What it sent before its end is read when the server comes to it: none of that is the next job's.
        wait_for(lambda: not self.server.open, os.getpid())

    def stored(self) -> set[bytes]:
        """Keys of the requests that a new job would find answered."""
        with Cache(self.work / "requests") as cache:
            return {key for key in self.asked() if key in cache}

    def asked(self, since: int = 0) -> list[bytes]:
        """Keys of what the server was asked."""
        generator = self.recipe.generators["smollm2"]
        with serve(
            self.site.generators["smollm2"],
            generator.weights,
            name=generator.model,
            log=self.folder / "server.log",
            context_tokens=generator.context_tokens,
        ) as endpoint:
            return [request_key(endpoint, *request) for request in self.server.asked[since:]]

    def instructions(self) -> tuple[object, ...]:
        return (
            *("write_instructions.py", "--shard", 0, "--token-counts", *self.corpus[1]),
            *("--instructions", self.folder / "instructions.parquet"),
        )

    def answers(self) -> tuple[object, ...]:
        return (
            *("answer_instructions.py", "--instructions", self.folder / "instructions.parquet"),
            *("--retrieved", self.folder / "retrieved.parquet"),
            *("--summaries", self.folder / "summaries.parquet"),
            *("--answers", self.folder / "answers.parquet"),
            *("--samples", self.folder / "samples.parquet"),
        )


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProtocolServer]:
    monkeypatch.setenv(KEY_VARIABLE, "key")
    with protocol_server() as running:
        yield running


@pytest.fixture
def start(
    server: ProtocolServer, corpus: Corpus, smollm2_tokenizer_folder: Path, tmp_path: Path
) -> Callable[[Recipe, str], Jobs]:
    """Jobs of a recipe, in a folder of the given name."""
    return lambda recipe, name: make_jobs(
        server, recipe, corpus, smollm2_tokenizer_folder, tmp_path / name
    )


def make_jobs(
    server: ProtocolServer, recipe: Recipe, corpus: Corpus, tokenizer: Path, folder: Path
) -> Jobs:
    folder.mkdir()
    site = yaml.safe_load((ROOT / "config.yaml").read_text())
    site["generators"]["smollm2"] = {
        "kind": "remote",
        "url": server.url,
        "api_key_variable": KEY_VARIABLE,
        "maximum_concurrency": SLOTS,
    }
    (folder / "site.yaml").write_text(yaml.safe_dump(site))
    content = recipe.model_dump(mode="json")
    content["synthesis"]["long_input"]["samples"] = SAMPLES
    (folder / "laptop.yaml").write_text(yaml.safe_dump(content))
    return Jobs(server, recipe, load_site(folder / "site.yaml"), corpus, tokenizer, folder)


def check_kill(jobs: Jobs, answers: int, *command: object) -> None:
    """Kill the job `command` after so many answers and start it again."""
    jobs.kill_half_way(answers, *command)
    stored, before = jobs.stored(), len(jobs.server.asked)
    assert len(stored) >= answers - SLOTS
    jobs.finish(*command)
    asked = jobs.asked(before)
    assert asked, "everything was answered before the kill"
    assert not stored & set(asked)
    assert len(asked) == len(set(asked))
    assert len(set(asked) & set(jobs.asked()[:before])) <= SLOTS


def resumed_as_whole(
    recipe: Recipe, corpus: Corpus, tokenizer: Path, folder: Path, answers: int,
    command: Callable[[Jobs], tuple[object, ...]], names: Sequence[str],
) -> Path:  # fmt: skip
    """Folder of a whole job; the files `names` in it equal those of one that was killed and went on."""
    with pytest.MonkeyPatch.context() as patch, protocol_server() as server:
        patch.setenv(KEY_VARIABLE, "key")
        killed, whole = (
            make_jobs(server, recipe, corpus, tokenizer, folder / name)
            for name in ("killed", "whole")
        )
        check_kill(killed, answers, *command(killed))
        whole.finish(*command(whole))
    for name in names:
        assert (killed.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name
    return whole.folder


@pytest.fixture
def full(recipe: Recipe) -> Recipe:
    """The recipe with the prompts that draw what they ask for, and a window that they fit."""
    content = recipe.model_dump(mode="json")
    content["generators"]["smollm2"] |= {"prompts": "full", "context_tokens": 600}
    content["synthesis"]["long_input"] |= {
        "families": {"report": 1, "table": 1, "check": 1},
        "answer_words": {"minimum": 50, "maximum": 60},
        "answer_tokens": 200,
        "lengths": {"distribution": "uniform", "minimum": 800, "maximum": 1000},
    }
    return Recipe.model_validate(content)


def test_killed_jobs_ask_no_stored_request_again_and_write_the_same_shards(
    start: Callable[[Recipe, str], Jobs],
    full: Recipe,
    corpus: Corpus,
) -> None:
    killed, whole = start(full, "killed"), start(full, "whole")
    check_kill(killed, 3, *killed.instructions())
    whole.finish(*whole.instructions())
    for one in (killed, whole):
        asked = one.folder / "instructions.parquet"
        assert len(read_parquet(asked, INSTRUCTIONS)) == SAMPLES
        retrieve_everything(asked, corpus, one.folder / "retrieved.parquet")
    check_kill(killed, 20, *killed.answers())
    whole.finish(*whole.answers())
    for name in ("instructions", "samples"):
        rows = read_parquet(whole.folder / f"{name}.parquet", NAMED[name])
        digests = {row["prompt_set_sha256"] for row in rows["provenance"]}
        assert digests == {load_prompt_set("full").sha256}
    made = [
        path.name
        for path in whole.folder.iterdir()
        if path.suffix in (".parquet", ".drops", ".usage")
    ]
    assert len(made) == 9
    for name in made:
        assert (killed.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name


def test_an_instruction_of_another_family_is_dropped_and_counted_where_the_recipe_says_so(
    start: Callable[[Recipe, str], Jobs], recipe: Recipe
) -> None:
    content = recipe.model_dump(mode="json")
    content["synthesis"]["gates"]["families"] = True
    jobs = start(Recipe.model_validate(content), "gated")
    jobs.finish(*jobs.instructions())
    rows = read_parquet(jobs.folder / "instructions.parquet", INSTRUCTIONS)
    # The server asks how something changed over time, whatever it is asked to write.
    assert set(rows["family"]) <= {"synthesis", "timeline"}
    drops = read_parquet(jobs.folder / "write_instructions.drops", DROPS)
    reasons = dict(drops.select("reason", "rows").iter_rows())
    assert 0 < reasons[OTHER_FAMILY] <= ATTEMPTS * reasons[GIVEN_UP]
    assert reasons[GIVEN_UP] == SAMPLES - len(rows) > 0
