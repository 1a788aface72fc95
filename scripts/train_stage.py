"""Train one stage of a model and publish its checkpoint."""

from pathlib import Path

from selflong.launcher import job_parser, run_resumable
from selflong.plan.stages import planned_site
from selflong.training.launch import run_stage, stage_job


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--checkpoint", required=True, help="<model>/<stage>")
    parser.add_argument("--initial", type=Path, required=True, help="folder to start from")
    parser.add_argument("--packed", type=Path, required=True, help="packed sequences")
    parser.add_argument("--work", type=Path, required=True, help="state to resume from")
    parser.add_argument("--output", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--machine", type=Path, nargs="*", help="the run's measurement")
    arguments = parser.parse_args()
    site = planned_site(arguments.recipe, arguments.site, arguments.checkpoint)
    job = stage_job(
        arguments.recipe,
        site,
        arguments.checkpoint,
        arguments.initial,
        arguments.packed,
        arguments.work,
        next(iter(arguments.machine or ()), None),
    )
    run_stage(job, site, arguments.output)


if __name__ == "__main__":
    run_resumable(main)
