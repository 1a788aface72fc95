"""Back-translate a writing instruction for each document of a shard of long-output samples."""

from pathlib import Path

from synthesis_arguments import generator_parser, served

from selflong.launcher import run_resumable
from selflong.synthesis.backtranslation import long_output


def main() -> None:
    parser = generator_parser(__doc__)
    parser.add_argument("--token-counts", type=Path, nargs="+", required=True)
    parser.add_argument("--samples", type=Path, required=True)
    arguments = parser.parse_args()
    with served(arguments) as setting:
        long_output(
            setting,
            arguments.shard,
            arguments.documents,
            arguments.token_counts,
            arguments.samples,
            arguments.drops,
            arguments.usage,
        )


if __name__ == "__main__":
    run_resumable(main)
