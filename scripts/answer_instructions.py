"""Answer the instructions of a shard from recursive summaries of their documents."""

from pathlib import Path

from synthesis_arguments import generator_parser, served

from selflong.launcher import run_resumable
from selflong.synthesis.answers import long_input


def main() -> None:
    parser = generator_parser(__doc__)
    parser.add_argument("--instructions", type=Path, required=True)
    parser.add_argument("--earlier", type=Path, nargs="*", help="those of the shards before it")
    parser.add_argument("--retrieved", type=Path, required=True)
    parser.add_argument("--summaries", type=Path, required=True)
    parser.add_argument("--samples", type=Path, required=True)
    arguments = parser.parse_args()
    with served(arguments) as setting:
        long_input(
            setting,
            arguments.instructions,
            arguments.earlier or [],
            arguments.retrieved,
            arguments.documents,
            arguments.summaries,
            arguments.samples,
            arguments.drops,
            arguments.usage,
        )


if __name__ == "__main__":
    run_resumable(main)
