"""Assembly of million-token samples: seconds, memory, and whether the counts are the tokenizer's.

    python benchmarks/synthesis.py --documents <shards of documents> --tokenizer <model folder>

Prints one line of JSON. The documents are repeated under new ids where they are too few; the time is that of
assembling the input, adding the answer and counting both, without the LLM. The sample is then rendered
again as a whole, outside the time, to compare the counts.
"""

import argparse
import json
import resource
import time
from itertools import count
from pathlib import Path
from random import Random

import polars as pl

from selflong.recipe import load_recipe
from selflong.synthesis.assembly import Document, assemble, with_answer
from selflong.tokens import Tokenizer, load_tokenizer

INSTRUCTION = "How did trade on the great rivers develop, and which events changed it?"
ANSWER = "It grew until the railways came, and fell after that."


def read_documents(shards: list[Path], tokenizer: Tokenizer, tokens: int) -> list[Document]:
    """Documents that together have at least `tokens` tokens."""
    texts = pl.concat([pl.read_parquet(shard, columns=["id", "text"]) for shard in shards])
    counts = tokenizer.count_many(texts["text"].to_list()).tolist()
    rows = list(zip(texts["id"], texts["text"], counts, strict=True))
    documents: list[Document] = []
    total = 0
    for repeat in count():
        for identifier, text, length in rows:
            documents.append(Document(f"{identifier}~{repeat}", text, length))
            total += length
            if total >= tokens:
                return documents
    raise AssertionError("count() does not end")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=Path, nargs="+", required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/laptop.yaml"))
    options = parser.parse_args()
    recipe = load_recipe(options.recipe)
    assert recipe.synthesis is not None
    settings = recipe.synthesis.long_input
    tokenizer = load_tokenizer(options.tokenizer)
    documents = read_documents(options.documents, tokenizer, options.tokens)
    started, worked = time.perf_counter(), time.process_time()
    sample = assemble(INSTRUCTION, documents, options.tokens, settings, tokenizer, Random(0))
    assert sample is not None
    messages, tokens = with_answer(sample, ANSWER, tokenizer)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    input_exact = sample.input_tokens == len(
        tokenizer.render(sample.messages, add_generation_prompt=True).ids
    )
    print(
        json.dumps(
            {
                "tokens": tokens,
                "target_tokens": options.tokens,
                "documents": len(sample.documents),
                "seconds": round(seconds, 2),
                "cpu_seconds": round(cpu_seconds, 2),
                "peak_mb": round(peak_mb),
                "counts_exact": input_exact and tokens == len(tokenizer.render(messages).ids),
                "within_target": sample.input_tokens + settings.answer_tokens <= options.tokens,
            }
        )
    )


if __name__ == "__main__":
    main()
