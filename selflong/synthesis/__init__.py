"""The agent workflow that writes long samples with a model whose context is short (arXiv 2412.18860, 3.1)."""

VERSION = 9
