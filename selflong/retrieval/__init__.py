"""Embed the documents, index them, and find enough of them for each instruction."""

VERSION = 2
"""Raise it when the same input would give another output."""
