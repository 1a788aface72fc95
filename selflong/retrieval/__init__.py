"""Embed the documents, index them, and find enough of them for each instruction."""

VERSION = 3
"""Raise it when the same input would give another output."""
BLOCK_BYTES = 32 << 20
"""Of embeddings in single precision, which a search and the building of an index hold at a time."""
