"""Ask a checkpoint a suite's questions and score its answers."""

from pathlib import Path

from selflong.evaluation.evaluate import evaluate
from selflong.evaluation.ruler import suite_sources
from selflong.evaluation.suites import Job
from selflong.launcher import job_parser, run_resumable
from selflong.precision import decided_serving


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--suite", required=True, help="a suite of the recipe")
    parser.add_argument("--checkpoint", required=True, help="<model>/<stage>")
    parser.add_argument("--lengths", required=True, help="one of the suite's lengths, or all")
    parser.add_argument("--model", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    parser.add_argument("--files", type=Path, nargs="*", help="download, or files, of the suite")
    parser.add_argument("--machine", type=Path, nargs="*", help="the run's measurement")
    parser.add_argument("--work", type=Path, required=True, help="keeps the answered requests")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    recipe = arguments.recipe
    model = recipe.models[arguments.checkpoint.partition("/")[0]]
    job = Job(
        suite_name=arguments.suite,
        suite=recipe.suites[arguments.suite],
        checkpoint=arguments.checkpoint,
        model=arguments.model,
        tokenizer=arguments.tokenizer,
        serving=decided_serving(
            arguments.site.evaluation,
            arguments.checkpoint,
            next(iter(arguments.machine or ()), None),
        ),
        work=arguments.work,
        sources=suite_sources(recipe.suites[arguments.suite]),
        chat_date=recipe.chat_date,
        supports=model.supports,
        published=next(iter(arguments.files), None),
        helmet=arguments.site.helmet,
    )
    lengths = None if arguments.lengths == "all" else [int(arguments.lengths)]
    evaluate(job, arguments.output, lengths)


if __name__ == "__main__":
    run_resumable(main)
