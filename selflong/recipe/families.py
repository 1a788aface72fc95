"""Families of models that training computes exactly, by the name in their config.json.

benchmarks/families.py measures them and says when this list is another. A name here is no promise: settings
of a configuration can take a model out, which is measured when it is loaded (training/families.py).
"""

TRAINED_EXACTLY = frozenset(
    {
        "arcee",
        "bitnet",
        "cohere",
        "cohere2",
        "cwm",
        "diffllama",
        "ernie4_5",
        "exaone4",
        "gemma",
        "gemma2",
        "gemma3_text",
        "glm",
        "glm4",
        "gpt_oss",
        "granite",
        "granite_swa",
        "granitemoe_swa",
        "helium",
        "hyperclovax",
        "internlm3",
        "iquestcoder",
        "jais2",
        "jetmoe",
        "lfm2",
        "llama",
        "ministral3",
        "mistral",
        "moshi",
        "nanochat",
        "olmo",
        "olmo2",
        "olmo3",
        "persimmon",
        "phi",
        "phi3",
        "qwen2",
        "qwen3",
        "smollm3",
        "starcoder2",
        "vaultgemma",
    }
)
