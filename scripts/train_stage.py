"""Train one stage of a model and publish its checkpoint."""

from pathlib import Path

from selflong.launcher import job_parser, run_resumable
from selflong.training.launch import run_stage, site_layout
from selflong.training.stage import TrainingJob


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--checkpoint", required=True, help="<model>/<stage>")
    parser.add_argument("--initial", type=Path, required=True, help="folder to start from")
    parser.add_argument("--packed", type=Path, required=True, help="packed sequences")
    parser.add_argument("--work", type=Path, required=True, help="state to resume from")
    parser.add_argument("--output", type=Path, required=True, help="folder of the checkpoint")
    arguments = parser.parse_args()
    recipe, site = arguments.recipe, arguments.site.training
    name = arguments.checkpoint.partition("/")[0]
    model = recipe.models[name]
    job = TrainingJob(
        initial=arguments.initial,
        packed=arguments.packed,
        work=arguments.work,
        stage=recipe.stage(arguments.checkpoint),
        title=arguments.checkpoint,
        seed=recipe.seed_of(name),
        layout=site_layout(site),
        precision=model.precision,
        mask_prompt=model.mask_prompt,
        device=site.device,
        zero_stage=site.zero_stage,
        offload_optimizer=site.offload_optimizer,
        offload_activations=site.offload_activations,
        tensorboard=site.tensorboard,
        checkpoint_minutes=site.checkpoint_minutes,
        keep_optimizer=recipe.keeps_optimizer(arguments.checkpoint),
    )
    run_stage(job, site, arguments.output)


if __name__ == "__main__":
    run_resumable(main)
