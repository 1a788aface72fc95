"""HELMET (arXiv 2410.02694)."""
