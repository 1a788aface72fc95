"""Find, for each instruction of a shard, the documents that fill its length."""

from pathlib import Path

import torch

from selflong.job import run
from selflong.launcher import job_parser
from selflong.retrieval.search import retrieve


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--instructions", type=Path, required=True)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--token-counts", type=Path, nargs="+", required=True)
    parser.add_argument("--weights", type=Path, nargs="*", help="folder of what the hub gave")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    recipe, site = arguments.recipe, arguments.site.encoding
    torch.set_num_threads(site.threads)
    retrieve(
        arguments.instructions,
        arguments.index,
        arguments.token_counts,
        recipe.encoders[recipe.synthesis.encoder],
        next(iter(arguments.weights), None),
        recipe.synthesis.long_input.include_seed_document,
        site.device,
        site.batch_size,
        arguments.output,
    )


if __name__ == "__main__":
    run(main)
