"""Bring samples of every source together: deduplicate, render, pack to each stage's length."""

VERSION = 3
"""Raise it when the same input would give another output."""
