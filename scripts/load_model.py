"""Make the weights that a model starts from a Hugging Face model folder."""

from selflong.launcher import launch
from selflong.training.weights import load_weights

if __name__ == "__main__":
    launch(
        load_weights,
        weights=lambda recipe, model: recipe.models[model].weights,
        seed=lambda recipe, model: recipe.seed_of(model),
        trained=lambda recipe, model: recipe.is_trained(model),
    )
