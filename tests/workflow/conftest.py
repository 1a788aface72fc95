"""The small recipe, run once for all tests of the workflow."""

import pytest

from tests.workflow.workspace import REPOSITORY, Workspace


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The small recipe, run from nothing to its report."""
    workspace = Workspace(tmp_path_factory.mktemp("finished"))
    workspace.write_site(REPOSITORY / "tests" / "workflow" / "recipes")
    outcome = workspace.run()
    assert outcome.returncode == 0, (outcome.stdout + outcome.stderr)[-6000:]
    return workspace
