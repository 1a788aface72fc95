"""Note which documents of a corpus's shard pass its filters, and which share text with an evaluation."""

from pathlib import Path

from selflong.corpus.select import scan
from selflong.corpus.stretches import SOURCE_FILE
from selflong.job import run
from selflong.launcher import job_parser
from selflong.tokens import load_tokenizer


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--corpus", required=True, help="a corpus of the recipe")
    parser.add_argument("--shard", type=int, required=True)
    parser.add_argument("--sources", type=Path, nargs="+", required=True, help="collected folders")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    parser.add_argument("--evaluation-texts", type=Path, required=True)
    parser.add_argument("--notes", type=Path, required=True)
    parser.add_argument("--overlaps", type=Path, required=True, help="a row for each overlap")
    arguments = parser.parse_args()
    recipe = arguments.recipe
    corpus = recipe.corpora[arguments.corpus]
    scan(
        [folder / SOURCE_FILE for folder in arguments.sources],
        arguments.shard,
        corpus.shards,
        corpus,
        recipe.seed,
        load_tokenizer(arguments.tokenizer, recipe.chat_date),
        arguments.evaluation_texts,
        arguments.notes,
        arguments.overlaps,
    )


if __name__ == "__main__":
    run(main)
