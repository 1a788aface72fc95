VERSION = 1
"""Raise it when the same input would give another output."""
