"""Write the evaluation's own text, with which corpus and mixture are compared."""

from selflong.launcher import launch
from selflong.decontamination.texts import write_evaluation_texts
from selflong.run.inputs import Inputs

if __name__ == "__main__":
    launch(
        write_evaluation_texts,
        suites=lambda recipe: recipe.suites,
        downloads=lambda recipe, site: Inputs(recipe, site).texts_downloads,
    )
