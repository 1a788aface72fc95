"""Sources of conversations."""
