"""Write the documents of a shard that the corpus keeps, and beside them their tokens."""

from pathlib import Path

from selflong.corpus.select import write
from selflong.corpus.stretches import SOURCE_FILE
from selflong.job import run
from selflong.launcher import job_parser


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--corpus", required=True, help="a corpus of the recipe")
    parser.add_argument("--shard", type=int, required=True)
    parser.add_argument("--sources", type=Path, nargs="+", required=True, help="collected folders")
    parser.add_argument("--selection", type=Path, required=True, help="folder, a file a shard")
    parser.add_argument("--documents", type=Path, required=True)
    parser.add_argument("--token-counts", type=Path, required=True)
    arguments = parser.parse_args()
    write(
        [folder / SOURCE_FILE for folder in arguments.sources],
        arguments.shard,
        arguments.recipe.corpora[arguments.corpus].shards,
        arguments.selection / f"{arguments.shard}.parquet",
        arguments.documents,
        arguments.token_counts,
    )


if __name__ == "__main__":
    run(main)
