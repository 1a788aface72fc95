"""The same training on any split of the ranks, and after any end."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from selflong.formats import PackedFiles, write_json
from selflong.job import UserError
from selflong.recipe.loading import load_recipe
from selflong.recipe.models import Optimizer
from selflong.recipe.site import TrainingSite
from selflong.tokens import vocabulary_digest
from selflong.training.checkpoint import check_tokenizer
from selflong.training.launch import REQUEUE_EXIT_CODE, run_stage, site_layout, stage_job
from selflong.training.layout import Layout
from selflong.training.nvme import load_async_io
from selflong.training.ranks import on_ranks
from selflong.training.stage import (
    METRICS_FILE,
    learning_rate,
    peak_flops,
    train_stage,
)
from selflong.training.stage_job import MODEL, TrainingJob
from tests import waiting
from tests.training.jobs import make_job, write_model, write_packed
from tests.waiting import ends_within

STEPS = 50


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    write_model(folder / "initial")
    write_packed(folder / "packed", 64, 40)
    return folder


def train(folder: Path, steps: int, layout: Layout, **settings: Any) -> Path:
    job = make_job(folder, steps, layout, **settings)
    on_ranks(layout.world, train_stage, job)
    return job.work


def losses(work: Path) -> list[float]:
    lines = (work / METRICS_FILE).read_text().splitlines()
    metrics = [json.loads(line) for line in lines]
    assert [m["step"] for m in metrics] == list(range(1, len(metrics) + 1))
    return [m["loss"] for m in metrics]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def assert_same_model(one: Path, other: Path, tolerance: float) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def alone(inputs: Path) -> Path:
    """50 steps of one rank under ZeRO-3."""
    return train(inputs, STEPS, Layout(), work=inputs / "alone")


@pytest.mark.parametrize(
    "layout",
    [
        Layout(ring=2),
        Layout(ulysses=2),
        Layout(data=2),
        Layout(ring=2, data=2),
        Layout(ring=2, ulysses=2),
    ],
    ids=str,
)
def test_same_losses_on_every_layout(inputs: Path, alone: Path, layout: Layout) -> None:
    work = train(inputs, STEPS, layout, work=inputs / f"layout-{layout}")
    np.testing.assert_allclose(losses(work), losses(alone), rtol=0, atol=1e-5)


def test_training_learns(alone: Path) -> None:
    curve = losses(alone)
    assert len(curve) == STEPS
    assert np.mean(curve[-5:]) < np.mean(curve[:5]) - 0.3


def test_zero_1_trains_and_resumes_in_bfloat16(inputs: Path) -> None:
    settings: dict[str, Any] = {"precision": "bfloat16", "zero_stage": 1}
    whole = train(inputs, 8, Layout(data=2), work=inputs / "bf16-zero-1", **settings)
    broken = inputs / "bf16-zero-1-broken"
    job = make_job(inputs, 8, Layout(data=2), work=broken, **settings)
    on_ranks(2, _train_until, job, 5)
    train(inputs, 8, Layout(data=2), work=broken, **settings)
    assert losses(broken) == losses(whole)
    under_zero_3 = train(
        inputs, 8, Layout(data=2), work=inputs / "bf16-zero-3", precision="bfloat16"
    )
    np.testing.assert_allclose(losses(whole), losses(under_zero_3), rtol=0, atol=0.02)


def _stop_inside_a_step(job: TrainingJob, step: int, micro_batch: int) -> int:
    """Tell one rank to stop within a step; returns how many micro-batches it computed after that."""
    from selflong.training.stage import Interrupted, StageRun, start_process_group

    run = StageRun(job, start_process_group(job.device))
    forward, done, after = run.engine.forward, 0, 0

    def counted(*args: Any) -> torch.Tensor:
        nonlocal done, after
        after += int(run.stop_requested)
        done += 1
        if done == 3 * step + micro_batch and dist.get_rank() == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return forward(*args)

    run.engine.forward = counted
    with pytest.raises(Interrupted):
        run.run()
    return after


def test_a_stop_within_a_step_is_obeyed_before_the_next_micro_batch(
    inputs: Path, alone: Path
) -> None:
    work = inputs / "mid-step"
    job = make_job(inputs, STEPS, Layout(ring=2), work=work, stage={"checkpoint_steps": 4000})
    assert on_ranks(2, _stop_inside_a_step, job, 4, 2) == [0, 0]
    assert [path.name for path in (work / "checkpoints").iterdir()] == ["step-00000004"]
    train(inputs, STEPS, Layout(), work=work)
    np.testing.assert_allclose(losses(work), losses(alone), rtol=0, atol=1e-5)


@pytest.mark.parametrize("zero_stage", [1, 2])
def test_zero_1_and_2_train_and_resume_the_same(inputs: Path, alone: Path, zero_stage: int) -> None:
    work = inputs / f"zero-{zero_stage}"
    interrupt_at(inputs, 7, Layout(data=2), work, zero_stage=zero_stage)
    train(inputs, STEPS, Layout(ring=2), work=work, zero_stage=zero_stage)
    np.testing.assert_allclose(losses(work), losses(alone), rtol=0, atol=1e-5)


def _train_until(job: Any, step: int) -> None:
    """Train as a rank that is told to stop once ``step`` is done."""
    from selflong.training.stage import Interrupted, StageRun, start_process_group

    run = StageRun(job, start_process_group(job.device))
    original = run._step

    def step_and_stop() -> dict[str, Any]:
        if run.progress.step == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original()

    run._step = step_and_stop  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        run.run()


def interrupt_at(folder: Path, step: int, layout: Layout, work: Path, **settings: Any) -> None:
    job = make_job(folder, STEPS, layout, work=work, **settings)
    on_ranks(layout.world, _train_until, job, step)


def test_resume_on_other_numbers_of_ranks(inputs: Path, alone: Path) -> None:
    work = inputs / "resumed"
    interrupt_at(inputs, 13, Layout(data=4), work)
    interrupt_at(inputs, 22, Layout(ring=2), work)
    train(inputs, STEPS, Layout(), work=work)
    np.testing.assert_allclose(losses(work), losses(alone), rtol=0, atol=1e-5)
    assert_same_model(work / MODEL, alone / MODEL, 1e-4)


def _train_split_until(job: TrainingJob, step: int) -> list[bool]:
    """Train until a step with every parameter split over the ranks, as large ones are; which stay whole."""
    from selflong.training import stage

    original = stage.deepspeed_config

    def all_split(job: TrainingJob, world: int) -> dict[str, Any]:
        config = original(job, world)
        config["zero_optimization"]["stage3_param_persistence_threshold"] = 0
        return config

    stage.deepspeed_config = all_split
    whole: list[bool] = []
    build = stage.build_engine

    def built(*args: Any) -> Any:
        engine = build(*args)
        whole.extend(parameter.ds_persist for parameter in engine.module.parameters())
        return engine

    stage.build_engine = built
    try:
        _train_until(job, step)
    finally:
        stage.deepspeed_config, stage.build_engine = original, build
    return whole


def test_each_rank_resumes_from_its_part_of_the_state(inputs: Path, alone: Path) -> None:
    work = inputs / "split"
    for layout, step in ((Layout(data=2), 4), (Layout(data=3), 7)):
        job = make_job(inputs, STEPS, layout, work=work)
        for whole in on_ranks(layout.world, _train_split_until, job, step):
            assert whole and not any(whole)
    curve = losses(work)
    assert len(curve) == 6
    np.testing.assert_allclose(curve, losses(alone)[:6], rtol=0, atol=1e-5)


def test_bfloat16_resumes_to_the_same_bits(inputs: Path) -> None:
    whole = train(inputs, 12, Layout(data=2), work=inputs / "bf16", precision="bfloat16")
    broken = inputs / "bf16-broken"
    job = make_job(inputs, 12, Layout(data=2), work=broken, precision="bfloat16")
    on_ranks(2, _train_until, job, 6)
    train(inputs, 12, Layout(data=2), work=broken, precision="bfloat16")
    assert losses(broken) == losses(whole)
    assert_same_model(broken / MODEL, whole / MODEL, 0.0)
    assert {t.dtype for t in weights(whole / MODEL).values()} == {torch.bfloat16}


@pytest.fixture(scope="module")
def short(inputs: Path) -> Path:
    """Ten steps of a ring of two."""
    return train(inputs, 10, Layout(ring=2), work=inputs / "short")


@pytest.mark.parametrize(
    "settings",
    [
        {"offload_optimizer": True, "activation_checkpointing": False},
        {"offload_optimizer": True, "offload_parameters": True},
        {"mlp_tiles": 3, "loss_rows": 5},
        {"mlp_tiles": 3, "loss_rows": 5, "activation_checkpointing": False, "layout": Layout()},
    ],
    ids=" ".join,
)
def test_what_is_offloaded_kept_or_tiled_changes_no_loss(
    inputs: Path, short: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    layout = settings.get("layout", Layout(ring=2))
    rest = {name: value for name, value in settings.items() if name != "layout"}
    work = train(inputs, 10, layout, work=tmp_path / "work", **rest)
    np.testing.assert_allclose(losses(work), losses(short), rtol=0, atol=1e-5)


UNCLIPPED = 1000.0
"""Beyond every gradient's norm, which DeepSpeed adds up in float32 where state is offloaded, else in float64:
where it clips, weights differ by the last bit of that sum, and their bfloat16 by what it flips."""


def test_offloaded_state_changes_no_bit_but_by_the_norm_that_clips(
    inputs: Path, tmp_path: Path
) -> None:
    def work(name: str, **settings: Any) -> Path:
        given = {"precision": "bfloat16", "gradient_clip": UNCLIPPED} | settings
        return train(inputs, 4, Layout(data=2), work=tmp_path / name, **given)

    plain = work("plain")
    offloaded = work("offloaded", offload_optimizer=True)
    assert losses(plain) == losses(offloaded)
    assert_same_model(plain / MODEL, offloaded / MODEL, 0.0)


def test_weights_that_the_ranks_of_a_node_hold_twice_are_the_same(
    inputs: Path, short: Path, tmp_path: Path
) -> None:
    job = make_job(inputs, 10, Layout(data=4), work=tmp_path / "work", zero_hpz_partition_size=2)
    for whole in on_ranks(4, _train_split_until, job, 5):
        assert whole and not any(whole)
    on_ranks(4, _train_split_until, job, 8)
    np.testing.assert_allclose(losses(job.work), losses(short)[:7], rtol=0, atol=1e-5)


def test_masked_prompt_needs_no_other_data(inputs: Path) -> None:
    work = train(inputs, 2, Layout(), work=inputs / "masked", mask_prompt=True)
    plain = train(inputs, 2, Layout(), work=inputs / "plain")
    masked_targets, targets = (
        json.loads((w / METRICS_FILE).read_text().splitlines()[0])["targets"] for w in (work, plain)
    )
    assert 0 < masked_targets < targets


def _moments(job: TrainingJob) -> tuple[int, float, dict[str, torch.Tensor]]:
    """A stage's step, the optimizer's, and both moments of each parameter, before its first step."""
    from deepspeed.utils import safe_get_full_optimizer_state

    from selflong.training.stage import StageRun, start_process_group

    run = StageRun(job, start_process_group(job.device))
    run.resume()
    steps = {float(state["step"]) for state in run.engine.optimizer.optimizer.state.values()}
    moments = {
        f"{moment}/{name}": safe_get_full_optimizer_state(parameter, moment).clone()
        for name, parameter in run.engine.module.named_parameters()
        for moment in ("exp_avg", "exp_avg_sq")
    }
    return run.progress.step, steps.pop(), moments


def test_optimizer_state_continues_in_the_next_stage(inputs: Path) -> None:
    first = train(inputs, 6, Layout(ring=2), work=inputs / "first", keep_optimizer=True)
    job = make_job(
        inputs, 6, Layout(data=2), work=inputs / "second", stage={"continue_optimizer": True}
    ).model_copy(update={"initial": first / MODEL})
    kept: dict[str, torch.Tensor] = {}
    for path in (first / MODEL / "optimizer").glob("*.safetensors"):
        kept |= load_file(path)
    for step, optimizer_step, moments in on_ranks(2, _moments, job):
        # The schedule begins anew; what Adam knows, and how often it has been told, does not.
        assert (step, optimizer_step) == (0, 6.0)
        for name, value in moments.items():
            assert torch.equal(value, kept[name]), name
    on_ranks(2, train_stage, job)
    assert losses(job.work)[0] < losses(first)[0]
    rates = [
        [
            json.loads(line)["learning_rate"]
            for line in (work / METRICS_FILE).read_text().splitlines()
        ]
        for work in (first, job.work)
    ]
    assert rates[0] == rates[1]
    without = make_job(
        inputs, 6, Layout(), work=inputs / "third", stage={"continue_optimizer": True}
    )
    with pytest.raises(RuntimeError, match="keeps no optimizer state"):
        on_ranks(1, train_stage, without)


def test_output_loads_unchanged(inputs: Path, alone: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(alone / MODEL)
    assert model.config.rope_parameters["rope_theta"] == 40_000.0
    assert model.config.max_position_embeddings == 128  # the initial model's, which is longer
    stage = json.loads((alone / MODEL / "stage.json").read_text())
    assert stage["length"] == 64
    assert "40000" in (alone / MODEL / "README.md").read_text()
    tokens = torch.arange(20)[None]
    assert torch.isfinite(model(tokens).logits).all()


def _start(job_file: Path, site: TrainingSite, output: Path) -> subprocess.Popen[bytes]:
    program = (
        "import sys; from pathlib import Path; from selflong.job import run; "
        "from selflong.recipe.site import TrainingSite; from selflong.training.launch import run_stage; "
        "from selflong.training.stage_job import TrainingJob; "
        "job = TrainingJob.model_validate_json(Path(sys.argv[1]).read_text()); "
        "site = TrainingSite.model_validate_json(sys.argv[2]); "
        "run(lambda: run_stage(job, site, Path(sys.argv[3])))"
    )
    arguments = [str(job_file), site.model_dump_json(), str(output)]
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def _wait_for_step(process: subprocess.Popen[bytes], metrics: Path, step: int) -> None:
    while process.poll() is None:
        if metrics.exists() and len(metrics.read_text().splitlines()) >= step:
            return
        time.sleep(0.02)


def test_killed_five_times_the_curve_is_the_unbroken_one(inputs: Path, alone: Path) -> None:
    """SIGKILL of the launcher at random steps; its ranks end with it; other numbers of ranks resume."""
    moments = random.Random(11)
    work, output = inputs / "killed", inputs / "killed-model"
    kills = 0
    for ranks in (2, 1, 4, 2, 1, 2):
        site = TrainingSite(ranks_per_node=ranks)
        job = make_job(inputs, STEPS, site_layout(site), work=work)
        (inputs / "killed.json").write_text(job.model_dump_json())
        process = _start(inputs / "killed.json", site, output)
        if kills < 5:
            _wait_for_step(process, work / METRICS_FILE, 8 * kills + moments.randint(3, 9))
            children = _children(process.pid)
            assert len(children) >= ranks
            process.kill()
            process.wait()
            kills += 1
            assert ends_within(10, *children), "a rank outlived its launcher"
            assert not output.exists()
        else:
            waiting.wait_until_ended(process.pid)
            _, errors = process.communicate()
            assert process.returncode == 0, errors.decode()
    assert kills == 5
    assert len(losses(output)) == STEPS
    np.testing.assert_allclose(losses(output), losses(alone), rtol=0, atol=1e-5)


def _with_extensions(folder: Path, function: Callable[..., None], *args: Any) -> str:
    """Call ``function`` as a rank whose DeepSpeed compiles into a folder; a mistake that it names."""
    os.environ["TORCH_EXTENSIONS_DIR"] = str(folder)
    try:
        function(*args)
    except UserError as mistake:
        return str(mistake)
    return ""


@pytest.fixture(scope="module")
def async_io(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where DeepSpeed's async_io lies: in TORCH_EXTENSIONS_DIR, or built, which takes minutes."""
    given = os.environ.get("TORCH_EXTENSIONS_DIR")
    folder = Path(given) if given else tmp_path_factory.mktemp("torch_extensions")
    [mistake] = on_ranks(1, _with_extensions, folder, load_async_io)
    if mistake:
        pytest.skip(mistake)
    return folder


LEAST_ON_DISK = 15_001
"""Width of an MLP of which two ranks hold a megabyte each: DeepSpeed leaves in memory what takes less."""


@pytest.mark.long
def test_state_on_a_disk_changes_no_bit(tmp_path: Path, async_io: Path) -> None:
    write_model(tmp_path / "initial", intermediate=LEAST_ON_DISK)
    write_packed(tmp_path / "packed", 64, 40)
    given: dict[str, Any] = {"precision": "bfloat16", "gradient_clip": UNCLIPPED}
    plain = train(tmp_path, 6, Layout(data=2), work=tmp_path / "plain", **given)
    disk = tmp_path / "disk"
    disk.mkdir()
    job = make_job(tmp_path, 6, Layout(data=2), offload_optimizer=True, offload_nvme=disk, **given)
    assert on_ranks(2, _with_extensions, async_io, train_stage, job) == ["", ""]
    assert len(list(disk.rglob("exp_avg-*.swp"))) == 2 * 2 * 3  # ranks, layers, an MLP's matrices
    assert losses(job.work) == losses(plain)
    assert_same_model(job.work / MODEL, plain / MODEL, 0.0)


@pytest.mark.long
def test_state_on_a_disk_outlives_a_kill(tmp_path: Path, async_io: Path) -> None:
    write_model(tmp_path / "initial", intermediate=LEAST_ON_DISK)
    write_packed(tmp_path / "packed", 64, 40)
    plain = train(tmp_path, 10, Layout(data=2), work=tmp_path / "plain")
    work, output, disk = tmp_path / "work", tmp_path / "output", tmp_path / "disk"
    (tmp_path / "torch_extensions").symlink_to(async_io)
    disk.mkdir()

    def start(ranks: int) -> subprocess.Popen[bytes]:
        site = TrainingSite(ranks_per_node=ranks)
        job = make_job(
            tmp_path, 10, site_layout(site), work=work, offload_optimizer=True, offload_nvme=disk
        )
        (tmp_path / "job.json").write_text(job.model_dump_json())
        return _start(tmp_path / "job.json", site, output)

    process = start(ranks=2)
    _wait_for_step(process, work / METRICS_FILE, 7)
    children = _children(process.pid)
    process.kill()
    process.wait()
    assert ends_within(10, *children)
    assert len(list(disk.rglob("exp_avg-*.swp"))) == 2 * 2 * 3
    process = start(ranks=1)
    waiting.wait_until_ended(process.pid)
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    assert not list(disk.iterdir())
    np.testing.assert_allclose(losses(output), losses(plain), rtol=0, atol=1e-5)


def test_sigterm_saves_and_asks_to_be_requeued(inputs: Path) -> None:
    site = TrainingSite(ranks_per_node=2)
    job = make_job(
        inputs, 4000, site_layout(site), work=inputs / "term", stage={"checkpoint_steps": 4000}
    )
    (inputs / "term.json").write_text(job.model_dump_json())
    process = _start(inputs / "term.json", site, inputs / "term-model")
    _wait_for_step(process, job.work / METRICS_FILE, 3)
    process.send_signal(signal.SIGTERM)
    waiting.wait_until_ended(process.pid)
    _, errors = process.communicate()
    assert process.returncode == REQUEUE_EXIT_CODE, errors.decode()
    states = list((job.work / "checkpoints").iterdir())
    assert len(states) == 1
    progress = json.loads((states[0] / "state.json").read_text())["progress"]
    assert progress["step"] == len(losses(job.work)) >= 3


def test_the_state_is_saved_after_a_time_too(inputs: Path) -> None:
    work = inputs / "by-time"
    settings: dict[str, Any] = {"work": work, "stage": {"checkpoint_steps": 4000}}
    train(inputs, 3, Layout(ring=2), **settings)
    assert not (work / "checkpoints").exists()
    train(inputs, 3, Layout(ring=2), **settings, checkpoint_minutes=1e-6)
    assert [path.name for path in (work / "checkpoints").iterdir()] == ["step-00000002"]


def test_other_settings_do_not_resume_from_old_state(inputs: Path) -> None:
    work = inputs / "changed"
    interrupt_at(inputs, 4, Layout(), work)
    (work / "digest.json").write_text('"of other settings"')
    site = TrainingSite(ranks_per_node=1)
    run_stage(make_job(inputs, 3, Layout(), work=work), site, inputs / "changed-model")
    assert len(losses(inputs / "changed-model")) == 3


def test_non_finite_loss_stops_with_the_samples_written_down(inputs: Path, tmp_path: Path) -> None:
    write_packed(tmp_path / "packed", 64, 12)
    write_model(tmp_path / "initial")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "initial")
    with torch.no_grad():
        model.model.norm.weight[0] = math.inf
    model.save_pretrained(tmp_path / "initial")
    site = TrainingSite(ranks_per_node=1)
    job = make_job(tmp_path, 3, Layout())
    with pytest.raises(UserError, match="step 0 is nan"):
        run_stage(job, site, tmp_path / "out")
    report = json.loads((job.work / "non_finite.json").read_text())
    assert len(report["samples"]) == 3
    assert all(len(ids) >= 1 for ids in report["samples"])
    assert not (tmp_path / "out").exists()


def test_a_sequence_longer_than_the_stage_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "initial")
    write_packed(tmp_path / "packed", 200, 4)
    with pytest.raises(RuntimeError, match="longer than the stage's length 64"):
        train(tmp_path, 2, Layout())


def _words(folder: Path, words: dict[str, int]) -> None:
    tokenizer = Tokenizer(WordLevel(words, unk_token="a"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)


def test_ids_of_another_tokenizer_are_refused(tmp_path: Path) -> None:
    _words(tmp_path / "model", {"a": 0, "b": 1})
    (tmp_path / "packed").mkdir()
    own = vocabulary_digest(Tokenizer.from_file(str(tmp_path / "model" / "tokenizer.json")))
    write_json(own, tmp_path / "packed" / PackedFiles.VOCABULARY)
    check_tokenizer(tmp_path / "model", tmp_path / "packed")
    _words(tmp_path / "model", {"a": 1, "b": 0})
    with pytest.raises(UserError, match="packed with another tokenizer than that of"):
        check_tokenizer(tmp_path / "model", tmp_path / "packed")


def test_the_peak_of_a_device_is_its_data_sheets(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        "NVIDIA GH200 480GB": 989.4e12,
        "NVIDIA B200": 2250e12,
        "AMD Instinct MI300X": 1307.4e12,
    }
    for name, flops in names.items():
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device, name=name: name)
        assert peak_flops(torch.device("cuda"), torch.bfloat16) == flops


def test_damaged_packed_data_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "initial")
    folder = write_packed(tmp_path / "packed", 64, 4)
    np.save(folder / PackedFiles.ROLES, np.zeros(3, np.uint8))
    with pytest.raises(RuntimeError, match="pack the mixture again"):
        train(tmp_path, 2, Layout())


def test_layout_of_a_site() -> None:
    assert site_layout(TrainingSite(ranks_per_node=8, nodes=2, ring=4, ulysses=2)) == Layout(
        4, 2, 2
    )
    assert site_layout(TrainingSite(ranks_per_node=8, ulysses=4)) == Layout(2, 4, 1)
    with pytest.raises(UserError, match="must divide"):
        site_layout(TrainingSite(ranks_per_node=8, ring=3))


def test_a_job_takes_all_that_the_site_says(tmp_path: Path) -> None:
    site = TrainingSite(
        device="cuda", ranks_per_node=2, precision="float32", zero_stage=3, offload_optimizer=True,
        offload_activations=True, activation_checkpointing=False, keep_attention=False,
        offload_parameters=True, offload_nvme=tmp_path, resident_layers=3, mlp_tiles=4, loss_rows=100,
        checkpoint_minutes=30,
    )  # fmt: skip
    recipe = load_recipe(Path(__file__).parents[2] / "recipes" / "laptop.yaml")
    job = stage_job(recipe, site, "full/1k", tmp_path, tmp_path, tmp_path)
    for field in set(TrainingSite.model_fields) & set(TrainingJob.model_fields):
        assert getattr(job, field) == getattr(site, field), field


def test_learning_rate_warms_up_and_falls() -> None:
    settings = Optimizer(
        learning_rate=1.0, warmup_share=0.2, minimum_ratio=0.1, weight_decay=0, gradient_clip=1
    )
    rates = [learning_rate(settings, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 20)
    assert max(rates) == rates[19] == rates[20] == 1.0
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert 0.1 < rates[-1] < 0.11
