"""Extend a model in stages: exact sequence parallelism, ZeRO, resumable state."""

VERSION = 2
"""Raise it when the same input would give another output."""
