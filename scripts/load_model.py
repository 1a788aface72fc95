"""Make the weights that a model starts from a Hugging Face model folder."""

from pathlib import Path

from selflong.job import run
from selflong.launcher import job_parser
from selflong.training.weights import load_weights


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--model", required=True, help="a model of the recipe that has weights")
    parser.add_argument("--download", type=Path, nargs="*", help="folder of what the hub gave")
    parser.add_argument("--output", type=Path, required=True, help="folder of the model")
    arguments = parser.parse_args()
    recipe, model = arguments.recipe, arguments.model
    load_weights(
        recipe.models[model].weights,
        next(iter(arguments.download), None),
        arguments.output,
        seed=recipe.seed_of(model),
        trained=recipe.is_trained(model),
    )


if __name__ == "__main__":
    run(main)
