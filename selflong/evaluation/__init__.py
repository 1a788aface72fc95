"""Prompts of the suites, predictions of the checkpoints, scores of the predictions."""

VERSION = 7
"""Part of every evaluation rule's digest: raise it when the results of unchanged settings change."""
