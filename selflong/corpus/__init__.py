"""The documents of retrieval and of long outputs: collected, filtered, drawn and counted."""

VERSION = 1
"""Raise it when the same input would give another output."""
