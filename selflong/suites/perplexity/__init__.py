"""Perplexity of long documents."""
