"""Size of embeddings and of each kind of index, and the time to encode."""

import re
from dataclasses import dataclass
from typing import Any

from selflong.estimate.index import index_cost
from selflong.placement.machines import Machine
from selflong.placement.shapes import Architecture
from selflong.recipe.retrieval import EXACT, Encoder
from selflong.sources.documents.section import Size

CHOICES = ("Flat", "SQ8", "IVF16384,Flat", "IVF16384,SQ8", "IVF16384,PQ512")
"""What is compared."""
VISITED_SHARE = 0.25
"""Of the lists: a recall@1000 of 0.90 on 20,000 passages (benchmarks/retrieval.py)."""
TRAINING_VECTORS = 40
"""For each list, as FAISS advises."""
SCAN_SHARE = 0.17
"""FAISS's rate through codes over that of matrix products: 11 to 14 against 70 GFLOP/s on one core."""


@dataclass(frozen=True)
class IndexUse:
    """What an index costs on a machine, beside the embeddings."""

    index: str
    disk: int
    build_memory: int
    search_memory: int
    """A block of embeddings where the search is exact; else the whole index, mapped."""
    build_seconds: float
    search_seconds: float
    """Of one job with its queries, the reading included."""


def alternatives(encoder: Encoder) -> list[Encoder]:
    """The encoder with every choice of an index that is not its own and takes its dimensions."""
    found = []
    for choice in CHOICES:
        codes = re.search(r"PQ(\d+)", choice)
        if codes and encoder.dimensions % int(codes[1]) != 0:
            continue
        settings: dict[str, Any] = {"index": choice, "probes": None, "index_training_sample": None}
        if match := re.match(r"IVF(\d+)", choice):
            lists = int(match[1])
            settings |= {
                "probes": round(VISITED_SHARE * lists),
                "index_training_sample": TRAINING_VECTORS * lists,
            }
        if choice != encoder.index:
            found.append(encoder.model_copy(update=settings))
    return found


def index_use(encoder: Encoder, rows: int, queries: int, machine: Machine) -> IndexUse:
    """Of the encoder's index over `rows` embeddings."""
    cost = index_cost(encoder, rows)
    if encoder.index == EXACT:
        search = cost.embedding_bytes / machine.disk_bandwidth
        search += queries * cost.search_flops / machine.cpu_flops
        return IndexUse(EXACT, 0, 0, cost.build_memory_bytes, 0.0, search)
    build = (cost.embedding_bytes + 2 * cost.index_bytes) / machine.disk_bandwidth
    search = cost.index_bytes / machine.disk_bandwidth
    search += queries * cost.search_flops / (SCAN_SHARE * machine.cpu_flops)
    return IndexUse(
        encoder.index,
        cost.index_bytes,
        cost.build_memory_bytes,
        cost.index_bytes,
        build + cost.build_flops / machine.cpu_flops,
        search,
    )


def encode_seconds(
    documents: Size, maximum_tokens: int, model: Architecture, machine: Machine, devices: int
) -> float:
    """Time to embed the documents, each cut to the encoder's maximum."""
    mean = documents.tokens / documents.rows
    tokens = min(mean, maximum_tokens)
    flops = model.forward_flops(documents.rows * tokens, tokens / 2, logits=False)
    return flops / (devices * machine.flops * machine.prefill_share)
