"""Embed the documents of a shard."""

from pathlib import Path

import torch

from selflong.launcher import job_parser, run_resumable
from selflong.retrieval.encode import encode_shard


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--encoder", required=True, help="an encoder of the recipe")
    parser.add_argument("--documents", type=Path, required=True)
    parser.add_argument("--weights", type=Path, nargs="*", help="folder of what the hub gave")
    parser.add_argument("--work", type=Path, required=True, help="keeps whole batches")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    site = arguments.site.encoding
    torch.set_num_threads(site.threads)
    encode_shard(
        arguments.documents,
        arguments.recipe.encoders[arguments.encoder],
        next(iter(arguments.weights), None),
        site.device,
        site.batch_size,
        arguments.output,
        arguments.work,
    )


if __name__ == "__main__":
    run_resumable(main)
