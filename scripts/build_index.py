"""Build the index over all embeddings of a corpus."""

from pathlib import Path

from selflong.job import run
from selflong.launcher import job_parser
from selflong.retrieval.index import build_index


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--encoder", required=True, help="an encoder of the recipe")
    parser.add_argument("--embeddings", type=Path, nargs="+", required=True, help="of each shard")
    parser.add_argument("--work", type=Path, required=True, help="keeps whole parts")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    encoder = arguments.recipe.encoders[arguments.encoder]
    build_index(arguments.embeddings, encoder, arguments.output, arguments.work)


if __name__ == "__main__":
    run(main)
