"""Give a checkpoint another RoPE base without training it."""

from selflong.launcher import launch
from selflong.training.checkpoint import adjust_rope_only

if __name__ == "__main__":
    launch(
        adjust_rope_only,
        rule=lambda recipe, checkpoint: recipe.stage(checkpoint).rope_base,
        length=lambda recipe, checkpoint: recipe.stage(checkpoint).length,
        scaling=lambda recipe, checkpoint: recipe.stage(checkpoint).rope_scaling,
    )
