# What all rules share, namely the typed recipe and site, where things lie, how a job is launched.

import os
from contextlib import ExitStack

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod

from selflong.job import UserError, disk_errors_as_sentences, sole_owner
from selflong.recipe.site import JOB_KINDS
from selflong.results import download_folder
from selflong.run.options import options
from selflong.run.readiness import lacking, uses_of_jobs, uses_of_recipe
from selflong.run.run import Run, alternatives, refuse

CONDA = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method

try:
    RUN = Run.from_config(config, CONDA)
except UserError as mistake:
    raise WorkflowError(str(mistake))

# Rules say what depends on what by these.
RESULTS, INPUTS, DIGESTS, JOBS = RUN.results, RUN.inputs, RUN.digests, RUN.environment

# The commands of the rules name the Python of their kind of job, the recipe and the site by these variables.
os.environ.update(JOBS.variables(CONDA))

# Of training's jobs, where the site has a queue: how often one is submitted again (inside a job nothing is), and
# how long before its time limit a stage saves its state.
TRAINING_RETRIES, WARNING_SECONDS = None, {}
if "training" in RUN.site.resources:
    from selflong.estimate.training import retries, warning_seconds

    try:
        WARNING_SECONDS = {
            stage: warning_seconds(RUN.recipe, RUN.site, stage)
            for stage in INPUTS.trained_checkpoints
        }
        if workflow.is_main_process:
            TRAINING_RETRIES = retries(RUN.recipe, RUN.site)
    except UserError as mistake:
        raise WorkflowError(str(mistake))

# Held until Snakemake ends, however it ends, so it never has to be removed by hand.
LOCK = ExitStack()


pathvars:
    logs=str(RESULTS.logs),
    benchmarks=str(RESULTS.benchmarks),


wildcard_constraints:
    corpus=alternatives(RUN.recipe.corpora),
    encoder=alternatives(RUN.recipe.encoders),
    generator=alternatives(RUN.recipe.generators),
    mixture=alternatives(RUN.recipe.mixtures),
    model=alternatives(RUN.recipe.models),
    suite=alternatives(RUN.recipe.suites),
    download=alternatives(INPUTS.downloads),
    shard=r"\d+",


def begin():
    """Look whether the jobs can run, take the results for this run, and write what its jobs read."""
    try:
        if workflow.dag is not None:
            uses = uses_of_jobs(workflow.dag.needrun_jobs())
            refuse(lacking(RUN.recipe, RUN.site, uses, CONDA))
        LOCK.enter_context(sole_owner(RESULTS.root))
        with disk_errors_as_sentences():
            JOBS.write_copies()
    except UserError as mistake:
        raise WorkflowError(str(mistake))


onstart:
    begin()


# Whoever only looks at a recipe needs none of it.
if workflow.dryrun and workflow.is_main_process:
    for sentence in lacking(RUN.recipe, RUN.site, uses_of_recipe(RUN.recipe), CONDA):
        logger.warning(f"Before it runs: {sentence}")


# Snakemake hears the onstart of the main Snakefile alone, not that of a module.
if (
    not workflow.modifier.is_main_snakefile()
    and workflow.is_main_process
    and not workflow.dryrun
):
    begin()
