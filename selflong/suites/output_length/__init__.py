"""Length asked for against length produced."""
