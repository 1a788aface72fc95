"""How far the angles that models are served with lie from float64, by RoPE base and head size.

    python benchmarks/rope.py

Prints one JSON line: for each base and head size the largest error of cos and sin below 1M and below 4M
positions as transformers computes them, and the same with frequencies that were cast to bfloat16.
"""

import json

import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

BASES = (5e5, 8e6, 1.28e8, 2.8e9)
HEADS = (64, 128)
LIMITS = {"1M": 1 << 20, "4M": 1 << 22}
STEP = 61
"""Every 61st position is looked at, and all of the last 4,096."""


def largest_error(rotary: LlamaRotaryEmbedding, base: float, head: int, limit: int) -> float:
    """Largest absolute error of cos and sin over all positions below `limit`."""
    exact = base ** -(torch.arange(0, head, 2, dtype=torch.float64) / head)
    positions = torch.cat([torch.arange(0, limit, STEP), torch.arange(limit - 4096, limit)])
    angles = positions.double()[:, None] * exact
    served = rotary(torch.zeros(1), positions[None])
    worst = max(
        float((values[0, :, : head // 2].double() - function(angles)).abs().max())
        for function, values in zip((torch.cos, torch.sin), served, strict=True)
    )
    return round(worst, 6)


def main() -> None:
    figures = {}
    for base in BASES:
        for head in HEADS:
            config = LlamaConfig(
                head_dim=head, rope_parameters={"rope_type": "default", "rope_theta": base}
            )
            errors = {
                name: largest_error(LlamaRotaryEmbedding(config), base, head, limit)
                for name, limit in LIMITS.items()
            }
            cast = LlamaRotaryEmbedding(config).bfloat16()
            errors["bfloat16_1M"] = largest_error(cast, base, head, LIMITS["1M"])
            figures[f"base {base:g}, head {head}"] = errors
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
