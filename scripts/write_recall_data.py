"""Draw the recall study's sequences that a stage trains on."""

from selflong.launcher import launch
from selflong.recall.language import write_packed

if __name__ == "__main__":
    launch(
        write_packed,
        language=lambda recipe: recipe.recall.language,
        data=lambda recipe, data: recipe.recall.data[data],
    )
