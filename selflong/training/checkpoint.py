"""Training state that any number of ranks can resume from, and the Hugging Face folders around training.

A state folder holds one safetensors file per rank that wrote it, with whole parameters: the float32
weight and both Adam moments of each, under the parameter's own name. Nothing in it depends on the
number of ranks, the ZeRO stage or the layout.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig

from selflong.formats import PackedFiles, publish, read_object, remove, write_json
from selflong.job import UserError
from selflong.tokens import vocabulary_digest
from selflong.training.rope import (
    RopeRule,
    Scaling,
    rope_base,
    rotary_size,
    set_rope,
    stage_rope_base,
)

STAGE_FILE = "stage.json"
INDEX = "model.safetensors.index.json"
MAXIMUM_SHARD_BYTES = 5_000_000_000
MOMENTS = ("exp_avg", "exp_avg_sq")
_STATE_FILE = "state.json"
_TOKENIZER_FILES = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*",
    "vocab*", "merges.txt", "generation_config.json",
)  # fmt: skip


# -------------------------------------------------------------------------------- training state


def _owners(names_and_sizes: list[tuple[str, int]], world: int) -> dict[str, int]:
    """Which rank writes which parameter: largest first, to the rank with the least so far."""
    load = [0] * world
    owners = {}
    for name, size in sorted(names_and_sizes, key=lambda item: (-item[1], item[0])):
        rank = min(range(world), key=load.__getitem__)
        owners[name] = rank
        load[rank] += size
    return owners


def _size(parameter: Tensor) -> int:
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def _inner_optimizer(engine: Any) -> torch.optim.Optimizer:
    return engine.optimizer.optimizer


def _flat_parameters(engine: Any) -> list[Tensor]:
    """The float32 partitions that this rank's optimizer steps on."""
    from deepspeed.runtime.bf16_optimizer import BF16_Optimizer

    zero = engine.optimizer
    if engine.zero_optimization_partition_weights():
        return zero.fp32_partitioned_groups_flat
    if isinstance(zero, BF16_Optimizer):  # ZeRO 1 in bfloat16
        return zero.fp32_groups_flat_partition
    return zero.single_partition_of_fp32_groups


@contextmanager
def _in_memory(engine: Any, index: int) -> Iterator[None]:
    """Hold a flat parameter, and its state, in memory while the block runs where they lie on a disk."""
    zero = engine.optimizer
    swapped = engine.zero_optimization_partition_weights() and zero._swappable_optimizer_subgroup(
        index
    )
    if swapped:
        zero._optimizer_states_and_gradient_swap_in(index)
    yield
    if swapped:
        zero._optimizer_states_and_gradient_swap_out(index)


def save_state(folder: Path, engine: Any, progress: dict[str, Any]) -> None:
    """Publish the training state under ``folder``. Collective: every rank calls it.

    ``progress`` is stored beside it (step, tokens, ...), as JSON.
    """
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    rank, world = dist.get_rank(), dist.get_world_size()
    partial = folder.with_name(f".{folder.name}.partial")
    if rank == 0:
        remove(partial)
        partial.mkdir(parents=True)
    dist.barrier()
    parameters = list(engine.module.named_parameters())
    owners = _owners([(name, _size(p)) for name, p in parameters], world)
    mine: dict[str, Tensor] = {}
    for name, parameter in parameters:
        whole = {"weight": safe_get_full_fp32_param(parameter)}
        for moment in MOMENTS:
            whole[moment] = safe_get_full_optimizer_state(parameter, moment)
        if owners[name] == rank:
            for part, value in whole.items():
                mine[f"{part}/{name}"] = value.detach().to("cpu", torch.float32).clone()
    save_file(mine, partial / f"rank-{rank:05d}.safetensors")
    dist.barrier()
    if rank == 0:
        steps = [float(s["step"]) for s in _inner_optimizer(engine).state.values() if "step" in s]
        write_json(
            {"progress": progress, "optimizer_step": max(steps), "files": owners},
            partial / _STATE_FILE,
        )
        remove(folder)
        partial.replace(folder)
    dist.barrier()


def latest_state(folder: Path) -> Path | None:
    """The newest whole state in a folder of states, or None."""
    whole = [p for p in folder.glob("step-*") if (p / _STATE_FILE).exists()]
    return max(whole, default=None)


def keep_latest_state(folder: Path) -> None:
    """Remove all states but the newest, and what was left half-written."""
    latest = latest_state(folder)
    for path in [*folder.glob("step-*"), *folder.glob(".step-*.partial")]:
        if path != latest:
            remove(path)


def load_state(folder: Path, engine: Any) -> dict[str, Any]:
    """Put a saved state into an engine with any number of ranks; returns its progress. Collective."""
    import deepspeed

    state = read_state(folder)
    parameters = dict(engine.module.named_parameters())
    if set(parameters) != set(state["files"]):
        raise UserError(f"{folder}: holds another model's parameters; remove the folder")
    for moments in _inner_optimizer(engine).state.values():
        moments["step"].fill_(state["optimizer_step"])
    opened: dict[int, Any] = {}
    for name, parameter in parameters.items():
        owner = state["files"][name]
        if owner not in opened:
            names = [name for name, other in state["files"].items() if other == owner]
            opened[owner] = open_state(folder, owner, names)
        if hasattr(parameter, "ds_id") and not parameter.ds_persist:
            _load_part(opened[owner], name, parameter)
            continue
        weight = opened[owner].get_tensor(f"weight/{name}").to(engine.device)
        with torch.no_grad(), deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
            parameter.copy_(weight)
        _set_whole(parameter, weight, None)
        for moment in MOMENTS:
            value = opened[owner].get_tensor(f"{moment}/{name}").to(engine.device)
            _set_whole(parameter, value, moment)
    if engine.zero_optimization_partition_weights():
        # A second copy that ranks of a node hold is made again from what was loaded.
        engine.optimizer.invalidate_secondary_tensor()
    return state["progress"]


def read_state(folder: Path) -> dict[str, Any]:
    """What stands beside the tensors of a saved state: progress, optimizer_step and files (owner by name)."""
    state = read_object(folder / _STATE_FILE)
    files = state.get("files")
    if (
        isinstance(files, dict)
        and all(isinstance(owner, int) for owner in files.values())
        and isinstance(state.get("progress"), dict)
        and isinstance(state.get("optimizer_step"), int | float)
    ):
        return state
    raise _damaged(folder / _STATE_FILE)


def open_state(folder: Path, rank: int, names: Iterable[str]) -> Any:
    """The tensors that a rank wrote, those of the parameters `names` among them."""
    path = folder / f"rank-{rank:05d}.safetensors"
    wanted = {f"{part}/{name}" for name in names for part in ("weight", *MOMENTS)}
    try:
        file = safe_open(path, "pt")
        if wanted <= set(file.keys()):
            return file
    except (OSError, SafetensorError):
        pass
    raise _damaged(path)


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is damaged: remove {path.parent} to begin the stage again")


def _load_part(file: Any, name: str, parameter: Any) -> None:
    """Set this rank's part of a parameter that ZeRO-3 has split, reading no more than the rows it lies in.

    ZeRO-3 splits the flat parameter, padded, into equal parts.
    """
    share, size = parameter.ds_tensor.numel(), parameter.ds_numel
    row = size // parameter.ds_shape[0]
    start = min(size, share * dist.get_rank())
    stop = min(size, start + share)
    first = start // row

    def part(key: str) -> Tensor:
        rows = file.get_slice(key)[first : -(-stop // row)].flatten()
        mine = rows[start - first * row : stop - first * row]
        return nn.functional.pad(mine, (0, share - mine.numel())).to(parameter.ds_tensor.device)

    weight = part(f"weight/{name}")
    parameter.ds_tensor.data.copy_(weight)
    _set_part(parameter, weight, None)
    for moment in MOMENTS:
        _set_part(parameter, part(f"{moment}/{name}"), moment)


def _set_part(parameter: nn.Parameter, mine: Tensor, moment: str | None) -> None:
    """Set the float32 weight, or a moment, of this rank's part of a parameter that ZeRO-3 has split."""
    from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

    if moment is None:
        safe_set_local_fp32_param(parameter, mine)
    else:
        safe_set_local_optimizer_state(parameter, mine, moment)


def create_moments(engine: Any) -> None:
    """Give a fresh optimizer the state that its first step would make.

    Left to that step, ZeRO 1 and 2 would link whole parameters to the first parameter group's state only.
    """
    optimizer = _inner_optimizer(engine)
    for index, flat in enumerate(_flat_parameters(engine)):
        with _in_memory(engine, index):
            optimizer.state[flat] = {
                "step": torch.tensor(0.0, dtype=torch.float32, device=flat.device),
                **{moment: torch.zeros_like(flat) for moment in MOMENTS},
            }
    if not engine.zero_optimization_partition_weights():
        engine.optimizer._lazy_init_hp_params_optimizer_state()


def _set_whole(parameter: nn.Parameter, value: Tensor, moment: str | None) -> None:
    """Set the float32 weight, or a moment, of a partitioned parameter from its whole value."""
    from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

    if not hasattr(parameter, "ds_id"):
        if moment is None:
            safe_set_full_fp32_param(parameter, value)
        else:
            safe_set_full_optimizer_state(parameter, value, moment)
        return
    # ZeRO-3 splits the flat parameter, padded, into equal parts; its own setter of whole values
    # overruns the last part where the ranks do not divide the size.
    share = parameter.ds_tensor.numel()  # type: ignore[attr-defined]
    padded = nn.functional.pad(value.flatten(), (0, share * dist.get_world_size() - value.numel()))
    _set_part(parameter, padded.narrow(0, share * dist.get_rank(), share), moment)


# -------------------------------------------------------------------------------- model folders


def whole_parameters(engine: Any, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Each parameter, gathered in turn and on the CPU. Collective: every rank exhausts it."""
    from deepspeed.utils import safe_get_full_fp32_param

    for name, parameter in engine.module.named_parameters():
        yield name, safe_get_full_fp32_param(parameter).detach().to("cpu", dtype).contiguous()


class ShardWriter:
    """Writes tensors as Hugging Face safetensors shards with an index, one shard in memory at a time."""

    def __init__(self, folder: Path, maximum_bytes: int = MAXIMUM_SHARD_BYTES) -> None:
        self._folder = folder
        self._maximum = maximum_bytes
        self._pending: dict[str, Tensor] = {}
        self._shards: list[list[str]] = []
        self._bytes = self._total = 0

    def add(self, name: str, tensor: Tensor) -> None:
        size = tensor.numel() * tensor.element_size()
        if self._pending and self._bytes + size > self._maximum:
            self._flush()
        self._pending[name] = tensor
        self._bytes += size
        self._total += size

    def _flush(self) -> None:
        path = self._folder / f"shard-{len(self._shards)}.safetensors"
        save_file(self._pending, path, metadata={"format": "pt"})
        self._shards.append(list(self._pending))
        self._pending, self._bytes = {}, 0

    def close(self) -> None:
        """Write what is pending; name the shards as transformers does and write their index."""
        self._flush()
        count = len(self._shards)
        if count == 1:
            (self._folder / "shard-0.safetensors").rename(self._folder / "model.safetensors")
            return
        weight_map = {}
        for i, names in enumerate(self._shards):
            file = f"model-{i + 1:05d}-of-{count:05d}.safetensors"
            (self._folder / f"shard-{i}.safetensors").rename(self._folder / file)
            weight_map.update(dict.fromkeys(names, file))
        write_json(
            {"metadata": {"total_size": self._total}, "weight_map": weight_map},
            self._folder / INDEX,
        )


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy a model folder's tokenizer, chat template and generation configuration unchanged."""
    for pattern in _TOKENIZER_FILES:
        for path in source.glob(pattern):
            shutil.copy2(path, target / path.name)


def check_tokenizer(initial: Path, packed: Path) -> None:
    """Raise UserError where packed sequences hold the ids of another vocabulary than the model's."""
    path = packed / PackedFiles.VOCABULARY
    if not path.exists():
        return
    tokenizer = AutoTokenizer.from_pretrained(initial, local_files_only=True)
    if vocabulary_digest(tokenizer.backend_tokenizer) != json.loads(
        path.read_text(encoding="utf-8")
    ):
        raise UserError(
            f"{packed} was packed with another tokenizer than that of {initial}; pack the mixture for a "
            "model of this tokenizer alone"
        )


def trained_length(model: Path) -> int:
    """The longest that a model folder was trained for; its position limit where no stage says."""
    stage = model / STAGE_FILE
    if stage.exists():
        return int(json.loads(stage.read_text(encoding="utf-8"))["longest"])
    return int(AutoConfig.from_pretrained(model).max_position_embeddings)


def stage_config(initial: Path, rule: RopeRule, length: int, scaling: Scaling) -> Any:
    """The configuration of a stage that starts from ``initial``: rope and position limit set."""
    config = AutoConfig.from_pretrained(initial)
    before = trained_length(initial)
    base = stage_rope_base(rule, rope_base(config), length / before, rotary_size(config))
    set_rope(config, base, length, scaling, before)
    return config


def model_card(title: str, facts: dict[str, Any]) -> str:
    """A model card that says how the folder came to be."""
    lines = ["---", "library_name: transformers", "pipeline_tag: text-generation", "---", ""]
    lines += [f"# {title}", "", "| setting | value |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in facts.items()]
    return "\n".join(lines) + "\n"


def adjust_rope_only(
    *,
    initial: Path,
    output: Path,
    rule: RopeRule,
    length: int,
    scaling: Scaling = "keep",
) -> None:
    """Publish ``initial`` with another rope base and room for ``length`` positions; weights unchanged."""
    config = stage_config(initial, rule, length, scaling)
    with publish(output) as partial:
        partial.mkdir(parents=True)
        for path in [*initial.glob("*.safetensors"), *initial.glob("*.safetensors.index.json")]:
            shutil.copy2(path, partial / path.name)
        copy_tokenizer(initial, partial)
        config.save_pretrained(partial)
        longest = max(length, trained_length(initial))
        facts = {
            "length": length,
            "longest": longest,
            "rope_base": rope_base(config),
            "tokens": 0,
        }
        write_json(facts, partial / STAGE_FILE)
        card = model_card("Rope base adjusted, not trained", {"initial": initial.name, **facts})
        (partial / "README.md").write_text(card, encoding="utf-8")


def materialise_gguf(gguf: Path, output: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Publish a GGUF file as a Hugging Face model folder, dequantised."""
    if not gguf.is_file():
        raise UserError(f"{gguf} does not exist: install the package that carries it")
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    if tokenizer.chat_template is None:
        raise UserError(f"{gguf} has no chat template: choose a model that was tuned for chat")
    with publish(output) as partial:
        nn.Module.to(model, dtype).save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        card = model_card(gguf.stem, {"weights": f"{gguf.name}, dequantised", "dtype": str(dtype)})
        (partial / "README.md").write_text(card, encoding="utf-8")


def parameter_count(model: nn.Module) -> int:
    """Number of parameters, gathered or not."""
    return sum(_size(p) for p in model.parameters())
