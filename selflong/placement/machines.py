"""What a machine does in a second: peak rates from its data sheet, shares of them from published runs."""

from dataclasses import dataclass, replace

from selflong.recipe.recipe import Recipe
from selflong.recipe.site import Site
from selflong.recipe.weights import HubWeights

GB = 10**9


@dataclass(frozen=True)
class Kernel:
    """An attention kernel's FLOP/s in causal bf16 attention with heads of 128."""

    name: str
    forward: float
    backward: float


# On an H100, 16k tokens, as the paper on FlashAttention-3 plots them (arXiv 2407.08608, figures 5 and 6).
# torch's own operations are FlashAttention-2's.
FLASH_2 = Kernel("flash-attn 2", 370e12, 322e12)
FLASH_3 = Kernel("flash-attn 3", 648e12, 561e12)


@dataclass(frozen=True)
class Speed:
    """What a GPU does in a second of training, beside attention."""

    dense: float
    """bf16 FLOP/s of large matrix products."""
    memory: float
    """Bytes from and to the device's memory."""
    link: float
    """Bytes to the other devices of its node, one way."""
    host: float
    """Bytes to the node's memory, one way."""
    kernel: Kernel


@dataclass(frozen=True)
class Machine:
    """Nodes of one kind; rates are those of one device (a GPU, or a core of a machine without)."""

    name: str
    nodes: int
    devices_per_node: int
    memory: int
    """Bytes of a device; of a core, its share of the machine's memory."""
    flops: float
    """bf16 multiplications and additions a second: the peak of a GPU, what is reached on a core."""
    bandwidth: float
    """Bytes a second from a device's memory."""
    training: float | Speed
    """Of a core, the share of its rate that training reaches in model FLOPs of causal attention."""
    prefill_share: float
    cores: int
    """Of a node, as far as one job of the data stages uses them."""
    cpu_flops: float
    """float32, of those cores: index and search."""
    cpu_tokens: float
    """Tokens of text a second that one core counts, compares and packs."""
    disk_bandwidth: float
    start_seconds: float
    """Before a job's work begins: imports, loading weights, a server's start."""
    light_start_seconds: float
    """The same of a job without a model."""
    has_gpus: bool = True

    @property
    def devices(self) -> int:
        return self.nodes * self.devices_per_node

    @property
    def usable_memory(self) -> float:
        """What a job may count on: the allocator and the driver keep some."""
        return 0.92 * self.memory


PREFILL_SHARE = 0.5
"""Of the peak, on long prompts. A million tokens took Llama-3.1-405B 77 s on 128 H100, which is 501 TFLOP/s
each or 0.51 (arXiv 2411.01783), and an 8B model half an hour on an A100, 0.49 (MInference, arXiv 2407.02490).
That vLLM does as well is an assumption."""

# 989 TFLOP/s, 3.35 TB/s, NVLink 900 GB/s both ways together and PCIe 5.0 x16 are the data sheet's. That large
# products reach 0.6, and transfers 0.8, of what it says are assumptions: nothing here was measured on a GPU.
# envs/training.txt installs flash-attn 2.
H100_SPEED = Speed(
    dense=0.6 * 989e12, memory=0.8 * 3.35e12, link=0.8 * 450e9, host=0.8 * 64e9, kernel=FLASH_2
)

H100 = Machine(
    name="H100 80 GB", nodes=4, devices_per_node=8, memory=80 * GB, flops=989e12, bandwidth=3.35e12,
    training=H100_SPEED, prefill_share=PREFILL_SHARE,
    cores=16, cpu_flops=5e11, cpu_tokens=2e5, disk_bandwidth=1e9,
    start_seconds=120.0, light_start_seconds=20.0,
)  # fmt: skip

# Measured on two cores of a cloud machine with SmolLM2-135M: a training step of 2,048 tokens in 13 s on one
# core, which two ranks that share the memory's bandwidth do not halve; 1,024 prompt tokens a second in
# bf16 on two.
TWO_CORES = Machine(
    name="core of a machine with 24 GB",
    nodes=1, devices_per_node=2, memory=12 * GB, flops=1.4e11, bandwidth=8e9,
    training=0.6, prefill_share=1.0,
    cores=2, cpu_flops=5e10, cpu_tokens=1.6e5, disk_bandwidth=5e8, start_seconds=7.0,
    light_start_seconds=3.0, has_gpus=False,
)  # fmt: skip


def _scaled(flops: float, bandwidth: float) -> Speed:
    """An H100's speed at another peak and another memory."""
    share, kernel = flops / H100.flops, H100_SPEED.kernel
    return replace(
        H100_SPEED,
        dense=share * H100_SPEED.dense,
        memory=bandwidth / H100.bandwidth * H100_SPEED.memory,
        kernel=Kernel(kernel.name, share * kernel.forward, share * kernel.backward),
    )


# One card in a workstation: bf16 with float32 sums and memory by the data sheets of the GeForce RTX 4090 and
# of the H100 PCIe; the shares of those peaks are the H100 nodes', an assumption, as is the link to the host.
RTX_4090 = replace(
    H100, name="RTX 4090 24 GB", nodes=1, devices_per_node=1, memory=24 * GB, flops=165e12,
    bandwidth=1.01e12, training=_scaled(165e12, 1.01e12),
)  # fmt: skip
ONE_H100 = replace(
    H100, name="single H100 80 GB", nodes=1, devices_per_node=1, flops=756e12, bandwidth=2.0e12,
    training=_scaled(756e12, 2.0e12),
)  # fmt: skip


def with_kernel(machine: Machine, kernel: Kernel) -> Machine:
    """The same GPUs with another kernel for attention."""
    assert isinstance(machine.training, Speed)
    return replace(machine, training=replace(machine.training, kernel=kernel))


MACHINES = {"h100": H100, "one_h100": ONE_H100, "rtx_4090": RTX_4090, "two_cores": TWO_CORES}


def choose_machine(recipe: Recipe, site: Site) -> Machine:
    """The site's machine; without one, four nodes of H100 for weights from the hub, else two cores."""
    if site.plan is not None:
        return replace(MACHINES[site.plan.machine], nodes=site.plan.nodes)
    from_hub = any(isinstance(model.weights, HubWeights) for model in recipe.models.values())
    return H100 if from_hub else TWO_CORES
