"""Needle in a haystack over depth and length."""
