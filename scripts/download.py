"""Download a model or a dataset of the recipe from the hub, at its pinned revision."""

from pathlib import Path

from selflong.formats import publish_folder
from selflong.hub import download_files, download_model
from selflong.job import run
from selflong.launcher import job_parser
from selflong.recipe.weights import HubWeights
from selflong.run.inputs import Inputs, dataset_files


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--name", required=True, help="folder name of the download")
    parser.add_argument("--work", type=Path, required=True, help="keeps what is whole already")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    token_variable = arguments.site.hub_token_variable
    source = Inputs(arguments.recipe, arguments.site).downloads[arguments.name]
    if isinstance(source, HubWeights):
        download_model(source, arguments.work, token_variable)
    else:
        download_files(
            source.repository,
            source.revision,
            dataset_files(source),
            arguments.work,
            token_variable,
            kind="dataset",
        )
    publish_folder(arguments.work, arguments.output)


if __name__ == "__main__":
    run(main)
