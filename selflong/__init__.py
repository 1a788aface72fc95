"""Long-context extension by bootstrapping (SelfLong, arXiv 2412.18860), from corpus to paper tables."""

__version__ = "0.2.0"
