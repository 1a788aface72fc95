"""Greedy generation: equal to transformers' own, and the same whoever else is being served."""

import random
import threading
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from selflong.llm.generation import ATTENTION, BLOCKS, Generated, Generator, _Row

VOCABULARY = 512


def save_model(folder: Path) -> None:
    """A Llama with grouped key heads and random weights, large enough that its choices vary."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=[2, 3],
    )
    LlamaForCausalLM(config).save_pretrained(folder)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    save_model(folder)
    return folder


def load(folder: Path, dtype: torch.dtype, attention: str) -> PreTrainedModel:
    model: PreTrainedModel = LlamaForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation=attention
    )
    return model


def started(model: PreTrainedModel, key_tokens: int) -> Generator:
    generator = Generator(model, key_tokens)
    threading.Thread(target=generator.run, daemon=True).start()
    return generator


def prompts(count: int, longest: int = 200) -> list[list[int]]:
    draw = random.Random(3)
    return [
        [draw.randrange(4, VOCABULARY) for _ in range(draw.randint(1, longest))]
        for _ in range(count)
    ]


def reference(
    model: PreTrainedModel, prompt: list[int], max_tokens: int, end_ids: list[int]
) -> list[int]:
    generated = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=max_tokens,
        do_sample=False,
        eos_token_id=end_ids or None,
        pad_token_id=0,
    )
    new_ids: list[int] = generated[0, len(prompt) :].tolist()
    return new_ids


def test_the_same_tokens_as_transformers(model_folder: Path) -> None:
    plain = load(model_folder, torch.float32, "sdpa")
    plain.generation_config.eos_token_id = None
    generator = started(load(model_folder, torch.float32, ATTENTION), key_tokens=4096)
    # End tokens that the model does choose: some rows stop early, others run on.
    common = [row[5] for row in (reference(plain, prompt, 10, []) for prompt in prompts(4))]
    running = [generator.submit(prompt, 30, frozenset(common)) for prompt in prompts(20)]
    reasons = set()
    for prompt, future in zip(prompts(20), running, strict=True):
        generated = future.result()
        assert generated.token_ids == reference(plain, prompt, 30, common)
        stopped = generated.token_ids[-1] in common
        assert generated.finish_reason == ("stop" if stopped else "length")
        reasons.add(generated.finish_reason)
    assert reasons == {"stop", "length"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_result_does_not_depend_on_the_others(model_folder: Path, dtype: torch.dtype) -> None:
    def results(key_tokens: int, one_at_a_time: bool) -> list[Generated]:
        generator = started(load(model_folder, dtype, ATTENTION), key_tokens)
        futures = []
        for number, prompt in enumerate(prompts(24)):
            futures.append(generator.submit(prompt, 5 + number, frozenset({2, 3})))
            if one_at_a_time:
                futures[-1].result()
        return [future.result() for future in futures]

    alone = results(4096, one_at_a_time=True)
    assert results(4096, one_at_a_time=False) == alone
    assert results(500, one_at_a_time=False) == alone  # few fit at once
    assert len({tuple(row.token_ids) for row in alone}) == len(alone)


def test_sliding_windows_are_refused(model_folder: Path) -> None:
    model = load(model_folder, torch.float32, ATTENTION)
    model.config.sliding_window = 64
    with pytest.raises(ValueError, match="sliding"):
        Generator(model, 4096)


def beginning_alike(count: int, shared: int, longest: int) -> list[list[int]]:
    """Prompts that share ever less of one text, from the one that shares it all."""
    draw = random.Random(5)
    text = [draw.randrange(4, VOCABULARY) for _ in range(longest)]
    asked = []
    for number in range(count):
        kept = shared - number * shared // count
        asked.append(text[:kept] + [draw.randrange(4, VOCABULARY) for _ in range(longest - kept)])
    return asked


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("key_tokens", [8192, 900])
def test_what_prompts_share_is_read_once_and_changes_no_bit(
    model_folder: Path, dtype: torch.dtype, key_tokens: int
) -> None:
    block = BLOCKS[dtype]
    asked = beginning_alike(6, 3 * block, 3 * block + 41)
    asked.append(asked[0])
    asked.append(asked[0][: 2 * block])  # its last block is read, or nothing would follow it
    model = load(model_folder, dtype, ATTENTION)

    def fresh(prompt: list[int]) -> tuple[Generated, _Row]:
        generator = started(model, key_tokens)
        generated = generator.submit(prompt, 12, frozenset()).result()
        return generated, generator._ended[-1]

    generator = started(model, key_tokens)
    cached = []
    for prompt in asked:
        generated = generator.submit(prompt, 12, frozenset()).result()
        row = generator._ended[-1]
        alone, own = fresh(prompt)
        assert alone.cached_tokens == 0
        assert generated == alone
        for layer, expected in zip(row.layers, own.layers, strict=True):
            assert torch.equal(layer[:, :, : len(prompt)], expected[:, :, : len(prompt)])
        cached.append(generated.cached_tokens)
        assert sum(other.capacity for other in generator._ended) <= key_tokens
    if key_tokens > 900:
        # Each takes from whichever prompt it shares most with.
        assert cached == [0, *(len_shared(asked, n, block) for n in range(1, len(asked)))]
        assert cached[-2:] == [3 * block, block]


def len_shared(asked: list[list[int]], number: int, block: int) -> int:
    """Whole blocks that a prompt shares with any before it, its last token not counted."""
    prompt = asked[number]

    def common(other: list[int]) -> int:
        pairs = zip(prompt[:-1], other, strict=False)
        return next(
            (i for i, (a, b) in enumerate(pairs) if a != b), min(len(prompt) - 1, len(other))
        )

    return max(common(other) for other in asked[:number]) // block * block
