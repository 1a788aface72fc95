"""Start the ranks of a training stage, see them to their end, publish the model folder.

Run as ``python -m selflong.training.launch JOB.json`` this module is one rank.
"""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from selflong.cluster import REQUEUE_EXIT_CODE, node
from selflong.formats import digest, publish, remove, write_json
from selflong.integrity import damaged, recorded
from selflong.job import UserError, end_with_parent, sole_owner
from selflong.precision import training_precision
from selflong.recipe.recipe import Recipe
from selflong.recipe.site import TrainingSite
from selflong.training.layout import Layout
from selflong.training.nodes import Meeting, Nodes, meeting
from selflong.training.nvme import own_folder, remove_locks
from selflong.training.stage_job import CHECKPOINTS, MODEL, OPTIMIZER_FOLDER, TrainingJob

log = logging.getLogger(__name__)

_USER_ERROR_EXIT_CODE = 2
_DIGEST_FILE = "digest.json"
_LAUNCHER = "SELFLONG_LAUNCHER"
# glibc gives large freed blocks back at once, and every step would fault its gigabytes in again: a
# quarter of a step's time on a CPU (mallopt(3)). One gigabyte a rank is kept, no more.
_KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(256 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}


def site_layout(site: TrainingSite) -> Layout:
    """The layout that a site asks for: what sequence parallelism leaves is data parallel."""
    world, ring, ulysses = site.ranks, site.ring_degree, site.ulysses_degree
    data, rest = divmod(world, ring * ulysses)
    if rest or data == 0:
        raise UserError(
            f"training: {world} ranks cannot be shared by ring {ring} x ulysses {ulysses}; "
            "their product must divide nodes x ranks_per_node"
        )
    return Layout(ring, ulysses, data)


def stage_job(
    recipe: Recipe,
    site: TrainingSite,
    checkpoint: str,
    initial: Path,
    packed: Path,
    work: Path,
    machine: Path | None = None,
) -> TrainingJob:
    """The job of '<model>/<stage>' as recipe and site say it.

    machine: the run's measurement, which decides where neither says a precision.
    """
    name = checkpoint.partition("/")[0]
    stage = recipe.stage(checkpoint)
    if stage is None:
        raise UserError(f"{checkpoint} is no stage of recipe {recipe.name}: name <model>/<stage>")
    model = recipe.models[name]
    return TrainingJob(
        initial=initial,
        packed=packed,
        work=work,
        stage=stage,
        title=checkpoint,
        seed=recipe.seed_of(name),
        layout=site_layout(site),
        precision=training_precision(model.precision, site, checkpoint, machine),
        mask_prompt=model.mask_prompt,
        device=site.device,
        zero_stage=site.zero_stage,
        offload_optimizer=bool(site.offload_optimizer),
        offload_activations=bool(site.offload_activations),
        resident_layers=site.resident_layers or 0,
        activation_checkpointing=site.activation_checkpointing,
        keep_attention=site.keep_attention is not False,
        offload_parameters=site.offload_parameters,
        offload_nvme=site.offload_nvme if site.offload_optimizer else None,
        zero_hpz_partition_size=site.zero_hpz_partition_size,
        mlp_tiles=site.mlp_tiles or 1,
        loss_rows=site.loss_rows,
        checkpoint_minutes=site.checkpoint_minutes,
        keep_optimizer=recipe.keeps_optimizer(checkpoint),
    )


def run_stage(job: TrainingJob, site: TrainingSite, output: Path) -> None:
    """Train a stage on this node's share of the ranks and publish its model folder at ``output``.

    Every node of a job calls it; the first publishes. A stage without tokens only gets its rope base.
    Interrupted by SIGTERM or SIGUSR1 it saves and exits with REQUEUE_EXIT_CODE; killed, it goes on from
    its last saved state when it is called again with the same work folder.
    """
    if job.stage.tokens == 0:
        from selflong.training.checkpoint import adjust_rope_only  # imports transformers: seconds

        stage = job.stage
        adjust_rope_only(
            initial=job.initial,
            output=output,
            rule=stage.rope_base,
            length=stage.length,
            scaling=stage.rope_scaling,
        )
        return
    own = node() if site.nodes > 1 else 0
    job.work.mkdir(parents=True, exist_ok=True)
    nodes = Nodes(job.work / "nodes", site.nodes)
    if own != 0:
        place = nodes.decision()
        if place is not None:
            _train_here(job, site, own, place)
        nodes.report_end(own)
        return
    with sole_owner(job.work):
        _drop_foreign_state(job)
        if _is_trained(job):
            nodes.decide(None)
        else:
            remove_locks(_extensions(job))
            with meeting(site.nodes) as place:
                nodes.decide(place)
                _train_here(job, site, own, place)
        with publish(output) as partial:
            shutil.copytree(job.work / MODEL, partial, copy_function=_link_or_copy)
        # Until all nodes have ended well the job may start again, on all of them.
        nodes.wait_for_others()
        remove(job.work / CHECKPOINTS)
        # A node may die yet, and Snakemake removes the output then: the model stays where it takes no space.
        if not _is_linked(job.work / MODEL):
            remove(job.work / MODEL)


def _link_or_copy(source: str, target: str) -> None:
    """A second name for the same bytes where the file system allows it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _is_linked(folder: Path) -> bool:
    """Whether the files of a folder have other names beside."""
    return all(path.stat().st_nlink > 1 for path in folder.rglob("*") if path.is_file())


def _is_trained(job: TrainingJob) -> bool:
    """Whether an earlier start left the whole model, with all that this job is to leave; one that was damaged
    since, as by the death of a node that had not written it to its disk, is removed."""
    model = job.work / MODEL
    if not model.is_dir() or (job.keep_optimizer and not (model / OPTIMIZER_FOLDER).is_dir()):
        return False
    mistake = next(damaged(recorded(model)), None)
    if mistake is None:
        log.info("%s: an earlier start trained it; %s is published", job.title, model)
        return True
    log.info("%s: trained again, since %s", job.title, mistake)
    remove(model)
    return False


def _drop_foreign_state(job: TrainingJob) -> None:
    """Remove what another recipe, other data or another initial model left in the work folder."""
    path, state = job.work / _DIGEST_FILE, job.state_digest()
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != state:
        log.info("%s: settings or inputs changed: the saved state is not used", job.title)
        for name in (CHECKPOINTS, MODEL):
            remove(job.work / name)
    write_json(state, path)


def rank_command(job_file: Path) -> list[str]:
    """What each rank runs."""
    return [sys.executable, "-m", "selflong.training.launch", str(job_file)]


def rank_environment(
    job: TrainingJob, site: TrainingSite, address: str, port: int | str
) -> dict[str, str]:
    """Variables of every rank beside this process's own; each has RANK and LOCAL_RANK besides."""
    package_root = str(Path(__file__).resolve().parents[2])
    environment = {
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
        # The first node's launcher keeps the store.
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "WORLD_SIZE": str(site.nodes * site.ranks_per_node),
        "LOCAL_WORLD_SIZE": str(site.ranks_per_node),
        "OMP_NUM_THREADS": str(site.threads_per_rank),
        # Ranks that spin while they wait take the cores of those that work.
        "OMP_WAIT_POLICY": "passive",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONWARNINGS": "ignore::FutureWarning",
        "TORCH_EXTENSIONS_DIR": str(_extensions(job)),
        "PYTHONPATH": os.pathsep.join(
            dict.fromkeys([package_root, *filter(None, [os.environ.get("PYTHONPATH")])])
        ),
    }
    if site.device == "cpu":
        environment["DS_ACCELERATOR"] = "cpu"
        environment |= _KEEP_FREED_MEMORY
    else:
        # Sequences of many lengths leave holes that segments of fixed size cannot close.
        environment["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"
    if site.nodes == 1:
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    return environment


def _extensions(job: TrainingJob) -> Path:
    """Where what DeepSpeed compiles lies: one stage of a model trains at a time."""
    return job.work.resolve().parent / "torch_extensions"


def _train_here(job: TrainingJob, site: TrainingSite, own: int, place: Meeting) -> None:
    """Train with this node's ranks, and with its disk where the site names a folder there."""
    if job.offload_nvme is None:
        _run_ranks(job, site, own, place)
        return
    # A disk that nodes share after all has a folder of each.
    name = f"selflong-{digest([str(job.work.resolve()), own])}"
    with own_folder(job.offload_nvme / name) as folder:
        _run_ranks(job.model_copy(update={"offload_nvme": folder}), site, own, place)


def _run_ranks(job: TrainingJob, site: TrainingSite, own: int, place: Meeting) -> None:
    """Start this node's ranks and wait; raises UserError or SystemExit as they do."""
    logs = job.work / "logs"
    logs.mkdir(exist_ok=True)
    job_file = job.work / f"job-{own}.json"
    job_file.write_text(job.model_dump_json(indent=2), encoding="utf-8")
    environment = dict(os.environ) | rank_environment(job, site, *place)
    environment[_LAUNCHER] = str(os.getpid())
    ranks: list[subprocess.Popen[bytes]] = []
    told_to_stop = False

    def pass_on(_number: int, _frame: object) -> None:
        nonlocal told_to_stop
        told_to_stop = True
        for rank in ranks:
            if rank.poll() is None:
                rank.send_signal(signal.SIGTERM)

    # Handlers stand before the first rank: none is left without one that passes the signal on.
    handlers = {
        number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGUSR1)
    }
    try:
        for local in range(site.ranks_per_node):
            rank = own * site.ranks_per_node + local
            with (logs / f"rank-{rank}.log").open("wb") as stream:
                ranks.append(
                    subprocess.Popen(
                        rank_command(job_file),
                        env=environment | {"RANK": str(rank), "LOCAL_RANK": str(local)},
                        stdout=stream,
                        # The first rank speaks for all.
                        stderr=None if rank == 0 else stream,
                    )
                )
        codes = _wait(ranks)
    finally:
        _end(ranks)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if told_to_stop and any(codes):
        # Also where the signal came before there was a state to save.
        raise SystemExit(REQUEUE_EXIT_CODE)
    _judge(codes, logs, own * site.ranks_per_node)


def _wait(ranks: list[subprocess.Popen[bytes]], grace: float = 10.0) -> list[int | None]:
    """Exit codes when all have ended, or ``grace`` seconds after the first failed (None: still alive)."""
    failed_at: float | None = None
    while True:
        codes = [rank.poll() for rank in ranks]
        if None not in codes:
            return codes
        if failed_at is None and any(code not in (None, 0) for code in codes):
            failed_at = time.monotonic()
        if failed_at is not None and time.monotonic() - failed_at > grace:
            return codes
        time.sleep(0.1)


def _end(ranks: list[subprocess.Popen[bytes]]) -> None:
    for rank in ranks:
        if rank.poll() is None:
            rank.kill()
        rank.wait()


def _judge(codes: list[int | None], logs: Path, first: int) -> None:
    if all(code == 0 for code in codes):
        return
    if REQUEUE_EXIT_CODE in codes:
        raise SystemExit(REQUEUE_EXIT_CODE)
    for rank, code in enumerate(codes, first):
        if code not in (0, None, _USER_ERROR_EXIT_CODE):
            tail = (logs / f"rank-{rank}.log").read_text(errors="replace", encoding="utf-8")[-3000:]
            raise RuntimeError(f"training rank {rank} ended with exit code {code}\n{tail}")
    raise UserError((logs / "mistake.txt").read_text(encoding="utf-8").strip())


def _rank_main(job_file: Path) -> None:
    end_with_parent(signal.SIGKILL)
    from selflong.training.stage import Interrupted, train_stage  # the launcher trains nothing

    if os.environ.get(_LAUNCHER) != str(os.getppid()):
        # It ended while this rank was being loaded; the next start's ranks must not meet this one.
        os._exit(1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for library in ("deepspeed", "DeepSpeed", "transformers", "httpx"):
        logging.getLogger(library).setLevel(logging.WARNING)
    job = TrainingJob.model_validate_json(job_file.read_text(encoding="utf-8"))
    try:
        train_stage(job)
    except Interrupted:
        os._exit(REQUEUE_EXIT_CODE)
    except UserError as mistake:
        (job.work / "logs" / "mistake.txt").write_text(str(mistake), encoding="utf-8")
        os._exit(_USER_ERROR_EXIT_CODE)
    # The other ranks may be gone already: nothing is left to say good-bye to.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    _rank_main(Path(sys.argv[1]))
