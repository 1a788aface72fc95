"""Drop duplicates over all shards of a corpus and draw its sample."""

from pathlib import Path

from selflong.corpus.select import select
from selflong.formats import publish
from selflong.job import run
from selflong.launcher import job_parser


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--corpus", required=True, help="a corpus of the recipe")
    parser.add_argument("--notes", type=Path, nargs="+", required=True, help="of each shard")
    parser.add_argument("--selection", type=Path, required=True, help="folder, a file a shard")
    parser.add_argument("--drops", type=Path, required=True, help="what was dropped, and why")
    arguments = parser.parse_args()
    corpus = arguments.recipe.corpora[arguments.corpus]
    with publish(arguments.selection) as partial:
        partial.mkdir()
        outputs = [partial / notes.name for notes in arguments.notes]
        select(arguments.notes, corpus.filters, corpus.sample, outputs, arguments.drops)


if __name__ == "__main__":
    run(main)
