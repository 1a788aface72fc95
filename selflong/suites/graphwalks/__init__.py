"""GraphWalks: nodes that a walk over a graph of the prompt reaches (openai/graphwalks)."""
