"""Recall of needles in the recall study's language."""
