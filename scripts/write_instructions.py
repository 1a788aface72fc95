"""Write the instructions of a shard of long-input samples."""

from pathlib import Path

from synthesis_arguments import generator_parser, served

from selflong.launcher import run_resumable
from selflong.synthesis.instructions import write_instructions


def main() -> None:
    parser = generator_parser(__doc__)
    parser.add_argument("--token-counts", type=Path, nargs="+", required=True)
    parser.add_argument("--instructions", type=Path, required=True)
    arguments = parser.parse_args()
    with served(arguments) as setting:
        write_instructions(
            setting,
            arguments.shard,
            arguments.documents,
            arguments.token_counts,
            arguments.instructions,
            arguments.drops,
            arguments.usage,
        )


if __name__ == "__main__":
    run_resumable(main)
