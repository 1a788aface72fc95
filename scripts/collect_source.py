"""Bring one source of a corpus into a folder: from a package, the hub, or a local folder."""

from pathlib import Path

from selflong.corpus.stretches import collect
from selflong.formats import publish_folder
from selflong.job import run
from selflong.launcher import job_parser


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--corpus", required=True, help="a corpus of the recipe")
    parser.add_argument("--source", type=int, required=True, help="position among its sources")
    parser.add_argument("--work", type=Path, required=True, help="keeps what is whole already")
    parser.add_argument("--output", type=Path, required=True, help="folder of the source")
    arguments = parser.parse_args()
    source = arguments.recipe.corpora[arguments.corpus].sources[arguments.source]
    collect(source, arguments.work, arguments.site.hub_token_variable)
    publish_folder(arguments.work, arguments.output)


if __name__ == "__main__":
    run(main)
