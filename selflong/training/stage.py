"""One training stage inside one rank: DeepSpeed ZeRO around an own loop.

The loss of a global batch is one mean over its targets, whatever the split: each rank sums its own,
the count is global, and ZeRO's mean over ranks is multiplied out.
"""

import itertools
import json
import logging
import math
import os
import resource
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig

from selflong.formats import remove, write_json
from selflong.integrity import record_folder
from selflong.job import UserError
from selflong.placement.memory import CPU_REDUCE_BUCKET, LIVE_PARAMETERS, REDUCE_BUCKET
from selflong.progress import state
from selflong.recipe.models import Optimizer
from selflong.tracking import Tracker, numbers, open_tracker
from selflong.training.attention import ATTENTION_NAME, KeptAttention, PackedSequence
from selflong.training.batches import MicroBatch, PackedData
from selflong.training.checkpoint import (
    STAGE_FILE,
    ShardWriter,
    check_tokenizer,
    copy_tokenizer,
    create_moments,
    keep_latest_state,
    latest_state,
    load_state,
    model_card,
    parameter_count,
    save_state,
    stage_config,
    trained_length,
    whole_parameters,
)
from selflong.training.families import check_exact
from selflong.training.layout import Groups, make_groups
from selflong.training.model import LossModel, compute_again, last_layers, tile_mlps
from selflong.training.nvme import check_space, load_async_io
from selflong.training.rope import check_rotary_precision, rope_base
from selflong.training.stage_job import CHECKPOINTS, MODEL, OPTIMIZER_FOLDER, TrainingJob

log = logging.getLogger(__name__)

# Dense bfloat16 FLOP/s of the vendors' data sheets, by a part of the device's name.
PEAK_FLOPS = {
    "GH200": 989.4e12, "H100": 989.4e12, "H200": 989.4e12, "B200": 2250e12, "A100": 312e12,
    "MI300X": 1307.4e12,
}  # fmt: skip
METRICS_FILE = "metrics.jsonl"
NON_FINITE_FILE = "non_finite.json"


class NonFinite(UserError):
    """A loss or a gradient that is infinite or not a number."""


class Interrupted(Exception):
    """The stage was told to stop; its state is saved."""


def learning_rate(optimizer: Optimizer, step: int, steps: int) -> float:
    """Learning rate of a step (from 0): linear warm-up, then the schedule down to its minimum."""
    warmup = round(optimizer.warmup_share * steps)
    if step < warmup:
        return optimizer.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    if optimizer.schedule == "constant":
        left = 1.0
    elif optimizer.schedule == "linear":
        left = 1 - done
    else:
        left = 0.5 * (1 + math.cos(math.pi * done))
    return optimizer.learning_rate * (
        optimizer.minimum_ratio + (1 - optimizer.minimum_ratio) * left
    )


def sequence_flops(config: PreTrainedConfig, parameters: int, bounds: list[int]) -> float:
    """Model FLOPs of one forward and backward pass over a packed sequence (PaLM, appendix B).

    6 per parameter and token, without the input embedding, and the causal half of attention; activation
    checkpointing's second forward pass does not count.
    """
    embedding = config.vocab_size * config.hidden_size
    dense = parameters if config.tie_word_embeddings else parameters - embedding
    width = config.num_attention_heads * (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    squares = sum((b - a) ** 2 for a, b in itertools.pairwise(bounds))
    return 6.0 * dense * bounds[-1] + 6.0 * config.num_hidden_layers * width * squares


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a rank's device: the data sheet's where it is known, else those of a matrix product."""
    if device.type == "cuda" and dtype == torch.bfloat16:
        name = torch.cuda.get_device_name(device)
        for known, flops in PEAK_FLOPS.items():
            if known in name:
                return flops
    size, best = 1024, math.inf
    a = torch.ones(size, size, dtype=dtype, device=device)
    for _ in range(3):
        start = time.perf_counter()
        float((a @ a)[0, 0])
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def peak_memory(device: torch.device) -> float:
    """Most memory that this rank has held, in GB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def deepspeed_config(job: TrainingJob, world: int) -> dict[str, Any]:
    """DeepSpeed's configuration of a stage."""
    assert job.stage.optimizer is not None
    slots = -(-job.sequences_per_step // job.layout.data)
    zero: dict[str, Any] = {"stage": job.zero_stage, "reduce_bucket_size": REDUCE_BUCKET}
    if job.device == "cpu":
        # Of gloo's collectives the sum over ranks is by far the fastest, and it needs no second buffer.
        zero |= {"reduce_bucket_size": CPU_REDUCE_BUCKET, "reduce_scatter": job.zero_stage < 3}
    if job.zero_stage == 3:
        zero["stage3_max_live_parameters"] = LIVE_PARAMETERS
    if job.zero_hpz_partition_size > 1:
        zero["zero_hpz_partition_size"] = job.zero_hpz_partition_size
    host: dict[str, Any] = {"device": "cpu", "pin_memory": job.device == "cuda"}
    if job.offload_optimizer:
        zero["offload_optimizer"] = host
    if job.offload_nvme is not None:
        zero["offload_optimizer"] = host | {"device": "nvme", "nvme_path": str(job.offload_nvme)}
        # Each parameter by itself: what reads or writes one of them moves no other, buffers are small, and
        # gradients begin where their buffer does, as direct reads demand.
        zero["sub_group_size"] = 1
    if job.offload_parameters:
        zero["offload_param"] = host
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": slots,
        "train_batch_size": world * slots,
        "gradient_clipping": job.stage.optimizer.gradient_clip,
        "bf16": {"enabled": job.precision == "bfloat16"},
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
        "zero_optimization": zero,
        # torch's fused AdamW steps on a CPU as fast, and needs no compiler on the machine.
        "zero_force_ds_cpu_optimizer": False,
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 1 << 30,
    }


def _adamw(model: nn.Module, settings: Optimizer) -> torch.optim.Optimizer:
    """AdamW; vectors (norms) do not decay."""
    decay: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for parameter in model.parameters():
        dimensions = len(getattr(parameter, "ds_shape", parameter.shape))
        (decay if dimensions > 1 else rest).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": decay, "weight_decay": settings.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        fused=True,
    )


def start_process_group(device: Literal["cpu", "cuda"]) -> torch.device:
    """Join the ranks through the environment's rendezvous; returns this rank's device."""
    import deepspeed

    if device == "cpu":
        # DeepSpeed looks in this table for what it may compile. It would try a compiler on every
        # extension it has, and then compile collectives in shared memory for a minute and a half, which
        # only quicken small all-reduces.
        deepspeed.ops.__compatible_ops__ = {}
        chosen = torch.device("cpu")
    else:
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    deepspeed.init_distributed(
        dist_backend="gloo" if device == "cpu" else "nccl", auto_mpi_discovery=False, verbose=False
    )
    return chosen


def build_engine(job: TrainingJob, config: PreTrainedConfig) -> Any:
    """Load the initial model, partitioned while it loads under ZeRO-3, into a DeepSpeed engine."""
    import deepspeed
    from transformers.integrations import HfDeepSpeedConfig

    assert job.stage.optimizer is not None
    world = dist.get_world_size()
    settings = deepspeed_config(job, world)
    if job.offload_nvme is not None:
        load_async_io()
    # from_pretrained looks for this object; it must be alive until the weights are loaded.
    partitioning = HfDeepSpeedConfig(settings) if job.zero_stage == 3 else None
    model = AutoModelForCausalLM.from_pretrained(
        job.initial, config=config, dtype=job.dtype, attn_implementation=ATTENTION_NAME
    )
    del partitioning
    model.train()
    if job.activation_checkpointing:
        # On a CPU activations are in host memory already.
        offload = job.offload_activations and job.device == "cuda"
        compute_again(model, offload, job.resident_layers)
    if job.mlp_tiles > 1:
        tile_mlps(model, job.mlp_tiles)
    if job.offload_nvme is not None:
        share = int(os.environ.get("LOCAL_WORLD_SIZE", world)) / world
        check_space(job.offload_nvme, share * parameter_count(model))
    wrapped = LossModel(model, job.loss_rows)
    engine, *_ = deepspeed.initialize(
        model=wrapped, optimizer=_adamw(wrapped, job.stage.optimizer), config=settings
    )
    create_moments(engine)
    check_rotary_precision(engine.module, config)
    return engine


@dataclass
class Progress:
    """Where a stage stands; what a saved state carries beside the tensors."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0


class StageRun:
    """The loop of one rank."""

    def __init__(self, job: TrainingJob, device: torch.device) -> None:
        self.job = job
        self.device = device
        self.data = PackedData(job.packed)
        self.config = stage_config(
            job.initial, job.stage.rope_base, job.stage.length, job.stage.rope_scaling
        )
        check_tokenizer(job.initial, job.packed)
        check_exact(self.config)
        heads = self.config.num_attention_heads
        key_heads = getattr(self.config, "num_key_value_heads", None) or heads
        job.layout.check_heads(heads, key_heads)
        longest = max(self.data.tokens)
        if longest > job.stage.length:
            raise UserError(
                f"{job.packed}: a sequence of {longest} tokens is longer than the stage's length "
                f"{job.stage.length}; pack the mixture for this stage"
            )
        self.groups: Groups = make_groups(job.layout)
        self.engine = build_engine(job, self.config)
        self.resident = {
            id(part)
            for layer in last_layers(self.engine.module, job.resident_layers)
            for part in layer.modules()
        }
        """Modules whose activations are not offloaded."""
        self.parameters = parameter_count(self.engine.module)
        self.peak = peak_flops(device, job.dtype)
        self.progress = Progress()
        self.stop_requested = False
        """This rank was told to stop; all ranks ask each other before each micro-batch."""
        self.saving = False
        self.saved_at = time.monotonic()
        self.saved_step = 0
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._request_stop)

    def _request_stop(self, _number: int, _frame: object) -> None:
        self.stop_requested = True

    @property
    def first(self) -> bool:
        return dist.get_rank() == 0

    # ---------------------------------------------------------------------- saved state

    def resume(self) -> None:
        """Continue from the newest saved state of this very stage, if there is one."""
        job = self.job
        state = latest_state(job.work / CHECKPOINTS)
        if state is not None:
            progress = load_state(state, self.engine)
            self.progress = Progress(**progress)
            self.saved_step = self.progress.step
            if self.first:
                log.info("resumed %s at step %d", job.title, self.progress.step)
        elif job.stage.continue_optimizer:
            optimizer = job.initial / OPTIMIZER_FOLDER
            if not optimizer.is_dir():
                raise UserError(
                    f"{job.initial} keeps no optimizer state, which continue_optimizer of stage "
                    f"{job.stage.name} needs; train the stage before it again"
                )
            load_state(optimizer, self.engine)
        if self.first:
            _truncate_metrics(job.work / METRICS_FILE, self.progress.step)

    def save(self) -> None:
        folder = self.job.work / CHECKPOINTS / f"step-{self.progress.step:08d}"
        save_state(folder, self.engine, vars(self.progress))
        self.saved_at = time.monotonic()
        self.saved_step = self.progress.step
        if self.first:
            keep_latest_state(folder.parent)

    # ---------------------------------------------------------------------- steps

    def _step(self) -> dict[str, Any]:
        """One optimizer step; returns its metrics. Raises Interrupted, with nothing changed, on a stop."""
        job, step = self.job, self.progress.step
        assert job.stage.optimizer is not None
        started = time.perf_counter()
        batch = self.data.global_batch(step, job.sequences_per_step, job.seed)
        slices = list(
            self.data.micro_batches(batch, job.layout, self.groups.place, job.mask_prompt)
        )
        targets = self._sum(sum(part.targets for part in slices))[0]
        rate = learning_rate(job.stage.optimizer, step, job.steps)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = rate
        # DeepSpeed averages over ranks and micro-steps; this makes it one sum over the global count.
        scale = dist.get_world_size() * len(slices) / max(1.0, targets)
        total = 0.0
        for index, part in enumerate(slices):
            # One decision of all ranks, whatever their clocks and signals say.
            if self._sum(float(self.stop_requested))[0] > 0:
                raise Interrupted
            loss = self.engine(part, self._sequence(part), self.device)
            total += float(loss.detach())
            self.engine.backward(loss * scale)
            if index == len(slices) - 1:
                summed, due = self._sum(total, float(self._state_is_old()))
                self._check_finite(summed, "loss", batch)
            self.engine.step()
        norm = float(self.engine.get_global_grad_norm())
        self._check_finite(norm, "gradient norm", batch)
        self.saving = due > 0
        seconds = time.perf_counter() - started
        return self._measure(batch, summed / max(1.0, targets), rate, norm, int(targets), seconds)

    def _sequence(self, part: MicroBatch) -> PackedSequence:
        job = self.job
        kept = None
        if job.activation_checkpointing and job.keep_attention:
            # On a CPU activations are in host memory already.
            kept = KeptAttention(job.offload_activations and job.device == "cuda", self.resident)
        return PackedSequence(part.bounds, self.groups, kept)

    def _state_is_old(self) -> bool:
        minutes = self.job.checkpoint_minutes
        return minutes is not None and time.monotonic() - self.saved_at >= 60 * minutes

    def _sum(self, *values: float) -> list[float]:
        """Sums over all ranks."""
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def _check_finite(self, value: float, name: str, batch: list[int]) -> None:
        if math.isfinite(value):
            return
        path = self.job.work / NON_FINITE_FILE
        if self.first:
            samples = [self.data.sample_ids[sequence] for sequence in batch]
            write_json({"step": self.progress.step, "what": name, "samples": samples}, path)
        raise NonFinite(
            f"{self.job.title}: the {name} of step {self.progress.step} is {value}; "
            f"the samples of its batch are listed in {path}"
        )

    def _measure(
        self, batch: list[int], loss: float, rate: float, norm: float, targets: int, seconds: float
    ) -> dict[str, Any]:
        job, world = self.job, dist.get_world_size()
        tokens = sum(self.data.tokens[sequence] for sequence in batch)
        flops = sum(
            sequence_flops(self.config, self.parameters, self.data.bounds[sequence])
            for sequence in batch
        )
        self.progress.step += 1
        self.progress.tokens += tokens
        self.progress.seconds += seconds
        left = job.steps - self.progress.step
        return {
            "step": self.progress.step,
            "loss": loss,
            "learning_rate": rate,
            "gradient_norm": norm,
            "tokens": self.progress.tokens,
            "targets": targets,
            "precision": job.precision,
            "seconds": seconds,
            "tokens_per_second_per_device": tokens / seconds / world,
            "model_flops_utilisation": flops / seconds / world / self.peak,
            "memory_gb": peak_memory(self.device),
            "seconds_left": left * self.progress.seconds / self.progress.step,
        }

    def run(self) -> None:
        """Train to the end, saving at the stage's interval; raises Interrupted when told to stop."""
        self.resume()
        board = open_tracker(self.job.title) if self.first else None
        while self.progress.step < self.job.steps:
            try:
                metrics = self._step()
            except Interrupted:
                # Gradients of a step that was begun are lost, the steps before it are not.
                if self.progress.step > self.saved_step:
                    self.save()
                raise
            if self.first:
                _report(self.job, metrics, self.progress.seconds, board)
            due = self.saving or self.progress.step % self.job.stage.checkpoint_steps == 0
            if due and self.progress.step < self.job.steps:
                self.save()
        if board is not None:
            board.close()
        self.publish_model()

    # ---------------------------------------------------------------------- output

    def publish_model(self) -> None:
        """Write the trained model folder into the work folder. Collective."""
        partial = self.job.work / f".{MODEL}.partial"  # one name for all ranks
        if self.first:
            remove(partial)
            partial.mkdir(parents=True)
        self._write_weights(partial)
        if self.job.keep_optimizer:
            save_state(partial / OPTIMIZER_FOLDER, self.engine, vars(self.progress))
        if self.first:
            self._describe(partial)
            record_folder(partial)
            remove(self.job.work / MODEL)
            partial.replace(self.job.work / MODEL)
        dist.barrier()

    def _write_weights(self, folder: Path) -> None:
        """The first rank writes what all of them gather."""
        writer = ShardWriter(folder) if self.first else None
        for name, tensor in whole_parameters(self.engine, self.job.dtype):
            if writer is not None:
                writer.add(name, tensor)
        if writer is not None:
            writer.close()

    def _describe(self, folder: Path) -> None:
        """Everything of a model folder but its weights."""
        job = self.job
        copy_tokenizer(job.initial, folder)
        self.config.dtype = job.dtype
        self.config.save_pretrained(folder)
        facts = {
            "length": job.stage.length,
            "longest": max(job.stage.length, trained_length(job.initial)),
            "rope_base": rope_base(self.config),
            "tokens": self.progress.tokens,
            "steps": self.progress.step,
            "seed": job.seed,
            "precision": job.precision,
        }
        write_json(facts, folder / STAGE_FILE)
        settings = job.stage.model_dump(mode="json", exclude={"assumed"})
        card = model_card(job.title, {"initial": job.initial.name, **settings, **facts})
        (folder / "README.md").write_text(card, encoding="utf-8")
        (folder / METRICS_FILE).write_bytes((job.work / METRICS_FILE).read_bytes())


def _truncate_metrics(path: Path, step: int) -> None:
    """Drop what was measured after the state that the stage resumes from."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
    path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def _report(
    job: TrainingJob, metrics: dict[str, Any], seconds: float, board: Tracker | None
) -> None:
    """What a step measured, `seconds` of the stage's steps up to it."""
    with (job.work / METRICS_FILE).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(metrics) + "\n")
    if board is not None:
        board.log(metrics["step"], numbers(metrics))
    loss = f"loss {metrics['loss']:.4f}"
    log.info("%s", state(job.title, "steps", metrics["step"], job.steps, seconds, loss))


def train_stage(job: TrainingJob) -> None:
    """Train one stage as one of its ranks; the model folder ends up in ``job.work / MODEL``.

    Raises Interrupted after SIGTERM or SIGUSR1, with the state saved; NonFinite with the batch's samples
    written down.
    """
    device = start_process_group(job.device)
    StageRun(job, device).run()
