"""Draw the recall study's sequences that a stage trains on."""

from pathlib import Path

from selflong.job import run
from selflong.launcher import job_parser
from selflong.recall.language import write_packed


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--data", required=True, help="a name in the recipe's recall.data")
    parser.add_argument("--length", type=int, required=True, help="tokens of a packed sequence")
    parser.add_argument("--output", type=Path, required=True, help="folder of packed sequences")
    arguments = parser.parse_args()
    study = arguments.recipe.recall
    write_packed(study.language, study.data[arguments.data], arguments.length, arguments.output)


if __name__ == "__main__":
    run(main)
