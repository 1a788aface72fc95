"""MRCR: the n-th of several answers to one request in a long conversation (openai/mrcr)."""
