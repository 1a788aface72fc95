"""The commands of a training stage and of its evaluation on SLURM, without starting any: a dry launch.

What Snakemake runs comes from its own dry run, what it submits from its executor, the rest from the
functions that start the ranks and the server.
"""

import json
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from string import Template
from types import SimpleNamespace
from typing import Any

from snakemake_executor_plugin_slurm.submit_string import get_submit_command

from selflong.cluster import scheduled
from selflong.job import UserError
from selflong.llm.serve import vllm_command
from selflong.placement.fit import stage_site
from selflong.recipe.site import JobKind, VllmServing
from selflong.recipe.weights import FolderWeights
from selflong.results import ALL_LENGTHS
from selflong.root import ROOT
from selflong.run.run import Run
from selflong.training.launch import rank_command, rank_environment, stage_job
from selflong.training.stage import deepspeed_config

# Where the first node's store listens is known when the job runs: it stands in nodes/*/meeting.json.
FIRST_NODE, ITS_PORT = '"$FIRST_NODE"', '"$ITS_PORT"'
SOME_SOCKET = Path("/tmp/selflong/vllm")
"""The server gets one in a folder of its own."""


def dry_launch(run: Run, checkpoint: str, suite: str) -> str:
    """Every command of '<model>/<stage>' and of its evaluation by `suite` at its longest length."""
    if suite not in run.recipe.suites:
        raise UserError(f"suites of {run.recipe.name} are {', '.join(run.recipe.suites)}")
    stage = str(run.results.checkpoint(checkpoint))
    folder = run.results.predictions(suite, checkpoint, ALL_LENGTHS).parent
    asked = [str(path) for path in run.inputs.predictions(suite) if path.parent == folder]
    if not asked:
        raise UserError(f"suites.{suite}.models of {run.recipe.name} do not name {checkpoint}")
    longest = asked[-1]
    shells = _shell_commands(run, [stage, longest])
    return "\n".join(
        [
            *_training(run, checkpoint, shells[stage]),
            "",
            *_evaluation(run, checkpoint, suite, shells[longest]),
            "",
        ]
    )


def _shell_commands(run: Run, targets: list[str]) -> dict[str, str]:
    """Target -> the command of its rule, with the variables of the rules filled in."""
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site.json"
        settings = run.site.model_dump(mode="json") | {"recipe": run.recipe.name}
        site.write_text(json.dumps(settings), encoding="utf-8")
        command = [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
            *("--dry-run", "--printshellcmds", "--forceall", "--cores", "1", "--nolock"),
            *(*targets, "--configfile", str(site)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = {}
    for block in re.split(r"\n(?=rule |localrule )", done.stdout + done.stderr):
        output = re.search(r"^ +output: (.+)$", block, flags=re.MULTILINE)
        shell = re.search(r"^(?:Shell command:)? *(exec .+)$", block, flags=re.MULTILINE)
        if output and shell and output[1] in targets:
            found[output[1]] = shell[1]
    if missing := set(targets) - set(found):
        raise UserError(f"Snakemake plans no job for {sorted(missing)[0]}\n{done.stderr[-2000:]}")
    variables = run.environment.variables()
    return {target: Template(shell).safe_substitute(variables) for target, shell in found.items()}


def _submission(run: Run, kind: JobKind, name: str) -> str:
    """The executor's command, with its own names left out: they differ from run to run."""
    resources: dict[str, Any] = {
        key: value(None, attempt=1) if callable(value) else value
        for key, value in scheduled(run.site, kind).items()
    }

    class Resources(SimpleNamespace):
        def get(self, key: str, default: object = None) -> Any:
            return getattr(self, key, default)

    job = SimpleNamespace(resources=Resources(**resources), threads=resources["cpus_per_task"])
    parameters = {
        "run_uuid": f"selflong_{name}",
        "slurm_logfile": f"work/slurm_logs/{name}/%j.log",
        "comment_str": name,
        "account": f"-A {run.site.account}" if run.site.account else "",
        "partition": f"-p {resources['slurm_partition']}" if "slurm_partition" in resources else "",
        "workdir": None,
    }
    settings = SimpleNamespace(requeue=True, no_requeue=False, qos=None, reservation=None)
    return " ".join(get_submit_command(job, parameters, settings).split())


def _training(run: Run, checkpoint: str, shell: str) -> list[str]:
    initial = run.inputs.initial(checkpoint)
    site = stage_site(run.recipe, run.site, checkpoint, initial)
    job = stage_job(
        run.recipe, site, checkpoint, initial, run.inputs.packed(checkpoint),
        run.environment.work / "training" / checkpoint,
    )  # fmt: skip
    variables = rank_environment(job, site, FIRST_NODE, ITS_PORT)
    assignments = [f"{name}={_quoted(value)}" for name, value in sorted(variables.items())]
    number = f"$((SLURM_NODEID * {site.ranks_per_node} + LOCAL_RANK))"
    # A rank runs the Python that its launcher runs.
    rank_words = rank_command(job.work / "job-NODE.json")
    rank = shlex.join([run.site.python.get("training", sys.executable), *rank_words[1:]])
    return [
        f"# {checkpoint} on {site.nodes} node(s) of {site.ranks_per_node} ranks",
        "# submitted by Snakemake",
        _submission(run, "training", "train_stage"),
        "# the job's command",
        shell,
        f"# each node, for LOCAL_RANK from 0 to {site.ranks_per_node - 1}",
        " ".join([*assignments, f"RANK={number}", rank.replace("NODE", "$SLURM_NODEID")]),
        "# DeepSpeed in each rank",
        json.dumps(deepspeed_config(job, job.layout.world)),
    ]


def _quoted(value: str) -> str:
    return value if value in (FIRST_NODE, ITS_PORT) else shlex.quote(value)


def _evaluation(run: Run, checkpoint: str, suite: str, shell: str) -> list[str]:
    serving = run.site.evaluation
    stage = run.recipe.stage(checkpoint)
    assert stage is not None
    lines = [
        f"# {suite} of {checkpoint}",
        "# submitted by Snakemake",
        _submission(run, "evaluation", "evaluate"),
        "# the job's command",
        shell,
    ]
    if isinstance(serving, VllmServing):
        weights = FolderWeights(kind="folder", path=run.inputs.checkpoint(checkpoint))
        command = vllm_command(serving, weights, checkpoint, stage.length, SOME_SOCKET)
        lines += ["# inside it, on a socket of its own", shlex.join(command)]
    return lines
