"""Compare an index with exact search on a sample of its own documents."""

from pathlib import Path

from selflong.job import run
from selflong.launcher import job_parser
from selflong.retrieval.quality import measure_retrieval


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    measure_retrieval(arguments.index, arguments.output)


if __name__ == "__main__":
    run(main)
