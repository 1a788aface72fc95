"""Families of models that training computes exactly, by the name in their config.json.

They stand in families.txt. benchmarks/families.py measures them and says when this list is another. A name in
it is no promise: settings of a configuration can take a model out, which is measured when it is loaded
(training/families.py).
"""

from pathlib import Path

TRAINED_EXACTLY = frozenset(Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").split())
