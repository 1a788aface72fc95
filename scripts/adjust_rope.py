"""Give a checkpoint another RoPE base without training it."""

from pathlib import Path

from selflong.job import run
from selflong.launcher import job_parser
from selflong.training.checkpoint import adjust_rope_only


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--checkpoint", required=True, help="<model>/<stage>")
    parser.add_argument("--initial", type=Path, required=True, help="folder to start from")
    parser.add_argument("--output", type=Path, required=True, help="folder of the checkpoint")
    arguments = parser.parse_args()
    stage = arguments.recipe.stage(arguments.checkpoint)
    adjust_rope_only(
        arguments.initial, arguments.output, stage.rope_base, stage.length, stage.rope_scaling
    )


if __name__ == "__main__":
    run(main)
