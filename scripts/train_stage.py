"""Train one stage of a model and publish its checkpoint."""

from pathlib import Path

from selflong.cluster import within_time_limit
from selflong.job import run
from selflong.launcher import job_parser
from selflong.plan.stages import planned_site, warning_seconds
from selflong.training.launch import run_stage, stage_job


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--checkpoint", required=True, help="<model>/<stage>")
    parser.add_argument("--initial", type=Path, required=True, help="folder to start from")
    parser.add_argument("--packed", type=Path, required=True, help="packed sequences")
    parser.add_argument("--work", type=Path, required=True, help="state to resume from")
    parser.add_argument("--output", type=Path, required=True, help="folder of the checkpoint")
    arguments = parser.parse_args()
    site = planned_site(arguments.recipe, arguments.site, arguments.checkpoint)
    job = stage_job(
        arguments.recipe,
        site,
        arguments.checkpoint,
        arguments.initial,
        arguments.packed,
        arguments.work,
    )
    margin = warning_seconds(arguments.recipe, arguments.site, arguments.checkpoint)
    with within_time_limit(margin):
        run_stage(job, site, arguments.output)


if __name__ == "__main__":
    run(main)
