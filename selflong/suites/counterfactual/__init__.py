"""Questions over documents whose answer was edited: what a model reads, and what it remembers."""
