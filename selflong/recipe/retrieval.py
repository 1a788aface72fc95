"""The embedding model and its index."""

from typing import Literal

from selflong.recipe.section import FaissIndex, InPackage, Positive, Section
from selflong.recipe.weights import Weights

EXACT = "Flat"
"""The index that needs no index: the embeddings are searched where they lie."""


class Encoder(Section):
    """The embedding model and its index."""

    weights: Weights | InPackage
    """`package:<name>` is a sentence-transformers model inside an installed package."""
    dimensions: Positive
    """Of a vector."""
    maximum_tokens: Positive
    """Of a text; what follows is not read."""
    query_prompt: str = ""
    """Stands before each query."""
    document_prompt: str = ""
    """Stands before each document."""
    pooling: Literal["mean", "last_token", "from_model"] = "from_model"
    """How the tokens' vectors become the text's."""
    append_end_token: bool = False
    """Whether the end-of-sequence token closes each text; where it stands already it is not doubled."""
    index: FaissIndex = EXACT
    """FAISS factory string; inner product over normalised vectors.

    Flat searches the embeddings where they lie, exactly. Where they are too large: SQ8, one byte a dimension,
    finds 0.997 of the thousand nearest of 20,000 passages; inverted lists (IVF512,SQ8) 0.90 with a quarter of
    the lists as probes. `snakemake plan` compares disk, memory and time.
    """
    index_training_sample: Positive | None = None
    """Vectors that the index learns its lists and codes from; all where it is null."""
    probes: Positive | None = None
    """Inverted lists visited per query, for an inverted-file index."""
