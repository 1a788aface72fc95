"""Prompts and predictions of self-long/RULER-llama3-1M."""
