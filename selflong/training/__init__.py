"""Extend a model in stages: exact sequence parallelism, ZeRO, resumable state."""

VERSION = 1
"""Raise it when the same input would give another output."""
