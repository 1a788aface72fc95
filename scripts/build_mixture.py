"""Bring a mixture's samples together and pack them to the length of a stage."""

from pathlib import Path

from selflong.job import run
from selflong.launcher import job_parser
from selflong.mixture.build import build_mixture
from selflong.tokens import load_tokenizer


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--mixture", required=True, help="a mixture of the recipe")
    parser.add_argument("--stage", required=True, help="a stage that trains on it")
    parser.add_argument(
        "--entry",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "FILE"),
        help="an entry of the mixture and its files; give it once for each entry",
    )
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    parser.add_argument("--evaluation-texts", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True, help="keeps prepared rows")
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--accounting", type=Path, required=True)
    parser.add_argument("--contamination", type=Path, required=True)
    arguments = parser.parse_args()
    build_mixture(
        arguments.recipe,
        arguments.mixture,
        arguments.stage,
        {name: [Path(file) for file in files] for name, *files in arguments.entry},
        load_tokenizer(arguments.tokenizer, arguments.recipe.chat_date),
        arguments.evaluation_texts,
        arguments.packed,
        arguments.accounting,
        arguments.contamination,
        arguments.work,
        arguments.processes,
    )


if __name__ == "__main__":
    run(main)
