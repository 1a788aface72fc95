"""The evaluation's own texts, and what data share with them."""

VERSION = 1
"""Raise it when the same suites would give other texts."""
