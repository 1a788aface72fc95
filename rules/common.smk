# What all rules share, namely the typed recipe and site, where things lie, how a job is launched.

import atexit
import os
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

from snakemake.settings.types import DeploymentMethod

from selflong.job import (
    UserError,
    check_writable,
    disk_errors_as_sentences,
    end_with,
    sole_owner,
)
from selflong.recipe.loading import refuse
from selflong.recipe.site import JOB_KINDS
from selflong.results import download_folder
from selflong.run.options import options
from selflong.run.readiness import lacking, uses_of_jobs
from selflong.run.run import Run, alternatives

CONDA = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method


@contextmanager
def mistakes_end_the_run():
    """A mistake of the user is printed alone: Snakemake would add which lines of its rules were at work."""
    try:
        yield
    except UserError as mistake:
        end_with(mistake)


with mistakes_end_the_run():
    RUN = Run.from_config(config, CONDA)
    if workflow.is_main_process:
        # Snakemake writes there whatever it does, a dry run included.
        check_writable(Path(".snakemake"))

# Rules say what depends on what by these.
RESULTS, INPUTS, DIGESTS, JOBS = RUN.results, RUN.inputs, RUN.digests, RUN.environment

# The commands of the rules name the Python of their kind of job, the recipe and the site by these variables.
os.environ.update(JOBS.variables(CONDA))

# Of training's jobs, where the site has a queue: how often one is submitted again (inside a job nothing is), and
# how long before its time limit a stage saves its state.
TRAINING_RETRIES, WARNING_SECONDS = None, {}
if "training" in RUN.site.resources:
    from selflong.estimate.training import retries, warning_seconds

    with mistakes_end_the_run():
        WARNING_SECONDS = {
            stage: warning_seconds(RUN.recipe, RUN.site, stage)
            for stage in INPUTS.trained_checkpoints
        }
        if workflow.is_main_process:
            TRAINING_RETRIES = retries(RUN.recipe, RUN.site)

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


def lacks():
    """What this machine lacks for the jobs that are to run."""
    jobs = (
        []
        if workflow.dag is None
        else workflow.dag.needrun_jobs(exclude_finished=False)
    )
    return lacking(RUN.recipe, RUN.site, uses_of_jobs(jobs), CONDA)


def check_folders():
    """UserError where nothing can be written into the folders that jobs write."""
    for folder in (RESULTS.root, JOBS.work):
        check_writable(folder)


def begin():
    """Look whether the jobs can run, take both folders for this run, and write what its jobs read."""
    with mistakes_end_the_run():
        refuse(lacks())
        # Of two runs with results of their own, jobs that share a folder below `work` would take each other's state.
        for folder in (JOBS.work, RESULTS.root):
            LOCK.enter_context(sole_owner(folder))
        check_folders()
        with disk_errors_as_sentences():
            JOBS.write_copies()


def note_what_is_lacking():
    """After a dry run, which goes on without: what will run elsewhere is planned here."""
    # What kind of run it is, is not known before Snakemake has read the rules.
    if workflow.dryrun:
        for sentence in lacks():
            print(f"Before it runs: {sentence}", file=sys.stderr)


# A dry run has no hooks.
if workflow.is_main_process:
    atexit.register(note_what_is_lacking)


onstart:
    begin()


onerror:
    # A job whose log lies on a full disk could not say why it ended.
    with mistakes_end_the_run():
        check_folders()


# Snakemake hears the onstart of the main Snakefile alone, not that of a module.
if (
    not workflow.modifier.is_main_snakefile()
    and workflow.is_main_process
    and not workflow.dryrun
):
    begin()
