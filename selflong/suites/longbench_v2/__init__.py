"""LongBench v2: multiple choice over long documents (arXiv 2412.15204)."""
