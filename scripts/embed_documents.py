"""Embed the documents of a shard."""

from selflong.launcher import launch
from selflong.retrieval.encode import encode_shard

if __name__ == "__main__":
    launch(
        encode_shard,
        resumes=True,
        encoder=lambda recipe, encoder: recipe.encoders[encoder],
        device=lambda site: site.encoding.device,
        batch_size=lambda site: site.encoding.batch_size,
        threads=lambda site: site.encoding.threads,
    )
