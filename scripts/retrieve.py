"""Find, for each instruction of a shard, the documents that fill its length."""

from selflong.launcher import launch
from selflong.retrieval.search import retrieve

if __name__ == "__main__":
    launch(
        retrieve,
        encoder=lambda recipe: recipe.encoders[recipe.synthesis.needed_encoder],
        include_seed_document=lambda recipe: (
            recipe.synthesis.needed_long_input.include_seed_document
        ),
        hard_negatives=lambda recipe: recipe.synthesis.needed_long_input.hard_negatives,
        device=lambda site: site.encoding.device,
        batch_size=lambda site: site.encoding.batch_size,
        threads=lambda site: site.encoding.threads,
    )
