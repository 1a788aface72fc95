"""What a recipe costs and whether it fits, before it runs."""

VERSION = 3
"""Raise it when the same recipe and site would give another plan."""
