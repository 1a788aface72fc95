"""Where documents and conversations come from, a file a kind."""
