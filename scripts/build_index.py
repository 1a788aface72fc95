"""Build the index over all embeddings of a corpus."""

from selflong.launcher import launch
from selflong.retrieval.index import build_index

if __name__ == "__main__":
    launch(build_index, encoder=lambda recipe, encoder: recipe.encoders[encoder])
