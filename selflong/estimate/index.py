"""What retrieval costs in disk, memory and arithmetic, from a recipe alone."""

from dataclasses import dataclass

import faiss

from selflong.job import UserError
from selflong.recipe.retrieval import EXACT, Encoder
from selflong.retrieval import BLOCK_BYTES

ID_BYTES = 8  # of a vector in an inverted list


@dataclass(frozen=True)
class IndexCost:
    """Of one encoder's index over a number of vectors."""

    embedding_bytes: int
    """On disk; searched where they lie when the index is exact."""
    index_bytes: int
    """On disk, mapped into memory while searching; while building as much again lies in the work folder."""
    build_memory_bytes: int
    """Resident at most: a block of vectors, the training sample, and an index that is merged in memory."""
    build_flops: float
    """Training the lists and assigning each vector to one."""
    search_flops: float
    """For one query; an exact search reads all embeddings once for a whole batch of queries."""


def embedding_bytes(vectors: int, dimensions: int) -> int:
    """float16 on disk."""
    return 2 * vectors * dimensions


def index_cost(encoder: Encoder, vectors: int) -> IndexCost:
    """Cost of `encoder`'s index over `vectors` embeddings; UserError where FAISS tells no size."""
    try:
        return _index_cost(encoder, vectors)
    except RuntimeError:
        raise UserError(
            f"encoders: the size of the index {encoder.index!r} is not known; take Flat, SQ8, or inverted "
            "lists such as IVF1024,SQ8"
        ) from None


def _index_cost(encoder: Encoder, vectors: int) -> IndexCost:
    dimensions = encoder.dimensions
    stored = embedding_bytes(vectors, dimensions)
    if encoder.index == EXACT:
        flops = 2.0 * dimensions * vectors
        return IndexCost(stored, 0, BLOCK_BYTES, 0.0, flops)
    index = faiss.index_factory(dimensions, encoder.index, faiss.METRIC_INNER_PRODUCT)
    sample = min(encoder.index_training_sample or vectors, vectors)
    sample_bytes = 4 * dimensions * sample
    lists = faiss.try_extract_index_ivf(index)
    if lists is None:
        index_bytes = index.sa_code_size() * vectors
        build_memory = max(sample_bytes, BLOCK_BYTES + 2 * index_bytes)
        return IndexCost(stored, index_bytes, build_memory, 0.0, 2.0 * dimensions * vectors)
    width = lists.d  # smaller than `dimensions` behind a projection
    centroid_bytes = 4 * width * lists.nlist
    index_bytes = (lists.code_size + ID_BYTES) * vectors + centroid_bytes
    trained_on = min(sample, lists.cp.max_points_per_centroid * lists.nlist)
    assignments = lists.cp.niter * trained_on + vectors
    probes = min(encoder.probes or 1, lists.nlist)
    return IndexCost(
        stored,
        index_bytes,
        max(2 * sample_bytes, BLOCK_BYTES + centroid_bytes),
        2.0 * width * lists.nlist * assignments,
        2.0 * width * (lists.nlist + vectors * probes / lists.nlist),
    )
