"""Download a model or a dataset of the recipe from the hub, at its pinned revision."""

from pathlib import Path

from selflong.formats import publish_folder
from selflong.hub import download_files, download_model
from selflong.job import run, sole_owner
from selflong.launcher import job_parser
from selflong.recipe import HubWeights
from selflong.workflow import Run, dataset_files


def main() -> None:
    parser = job_parser(__doc__)
    parser.add_argument("--name", required=True, help="folder name of the download")
    parser.add_argument("--work", type=Path, required=True, help="keeps what is whole already")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    token_variable = arguments.site.hub_token_variable
    source = Run(arguments.recipe, arguments.site).downloads[arguments.name]
    output = arguments.output
    # Two recipes may want the same download at once: one waits, and takes what the other brought.
    with sole_owner(output.parent / ".locks" / output.name, wait=True):
        if isinstance(source, HubWeights):
            paths = download_model(source, arguments.work, token_variable, present=output)
        else:
            paths = download_files(
                source.repository,
                source.revision,
                dataset_files(source),
                arguments.work,
                token_variable,
                kind="dataset",
                present=output,
            )
        if not all(path.is_relative_to(output) for path in paths):
            publish_folder(arguments.work, output)


if __name__ == "__main__":
    run(main)
