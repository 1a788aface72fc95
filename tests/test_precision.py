"""Precisions: decided by a measurement, once for a run, and said."""

import json
import logging
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from selflong.formats import write_json
from selflong.precision import (
    Machine,
    Shape,
    decide,
    decided_serving,
    measure,
    read_machine,
    serving_precision,
    training_precision,
)
from selflong.recipe.site import RemoteServing, TrainingSite, TransformersServing, VllmServing

FAST = Machine("fast", ("amx_bf16",), 2, 50.0, 150.0, "bfloat16", "measured")
SLOW = Machine("slow", ("avx2",), 2, 71.0, 1.2, "float32", "measured")
LOGGER = "selflong.precision"


@pytest.fixture(params=[FAST, SLOW], ids=["fast", "slow"])
def machine(request: pytest.FixtureRequest) -> Machine:
    found: Machine = request.param
    return found


@pytest.fixture
def path(machine: Machine, tmp_path: Path) -> Path:
    write_json(asdict(machine), tmp_path / "machine.json")
    return tmp_path / "machine.json"


def test_a_measurement_is_read_as_it_was_written(machine: Machine, path: Path) -> None:
    assert read_machine(path) == machine


def test_auto_is_what_was_measured_and_is_said_once(
    machine: Machine, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=LOGGER)
    assert decide("auto", "base/initial", path, 2) == machine.auto
    assert [record.getMessage() for record in caplog.records] == [
        f"base/initial: {machine.auto}, since on {machine.cpu} measured"
    ]


def test_a_fixed_bfloat16_stays_and_its_cost_is_named(
    machine: Machine, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert decide("bfloat16", "base/initial", path, 2) == "bfloat16"
    warnings = [record.getMessage() for record in caplog.records]
    assert warnings == (
        []
        if machine is FAST
        else [
            "base/initial: bfloat16 takes about 59 times as long as float32 on this CPU; "
            "auto chooses float32"
        ]
    )


def test_a_recipe_fixes_its_own_and_gpus_are_not_measured(machine: Machine, path: Path) -> None:
    cpu, cuda = TrainingSite(ranks_per_node=2), TrainingSite(device="cuda", ranks_per_node=2)
    assert training_precision(None, cpu, "full/1k", path) == machine.auto
    assert training_precision("float32", cpu, "full/1k", path) == "float32"
    assert training_precision(None, cuda, "full/1k", Path("no file")) == "bfloat16"
    assert training_precision("float32", cuda, "full/1k", Path("no file")) == "float32"


def test_what_serves_says_its_precision(machine: Machine, path: Path) -> None:
    serving = TransformersServing(kind="transformers")
    assert serving_precision(serving) is None
    assert serving_precision(decided_serving(serving, "base/initial", path)) == machine.auto
    vllm = VllmServing(kind="vllm")
    assert decided_serving(vllm, "base/initial", path) is vllm
    assert serving_precision(vllm) == "bfloat16"
    remote = RemoteServing(kind="remote", url="https://example.org", api_key_variable="KEY")
    assert serving_precision(remote) is None


def test_this_machine_is_measured_with_the_shapes_of_a_model(tmp_path: Path) -> None:
    write_json({"hidden_size": 64, "intermediate_size": 96}, tmp_path / "config.json")
    assert Shape.of(tmp_path) == Shape(64, 96)
    found = measure(Shape.of(tmp_path), threads=1)
    assert found.gflops_float32 > 0 and found.gflops_bfloat16 > 0
    assert found.auto == ("bfloat16" if found.gflops_bfloat16 > found.gflops_float32 else "float32")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the variables limit x86 kernels")
def test_without_matrix_units_float32_is_chosen(tmp_path: Path) -> None:
    write_json({"hidden_size": 576, "intermediate_size": 1536}, tmp_path / "config.json")
    limited = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    script = Path(__file__).parents[1] / "scripts" / "measure_machine.py"
    output = tmp_path / "machine.json"
    subprocess.run(
        [
            *(sys.executable, str(script), "--model", str(tmp_path)),
            *("--threads", "1", "--output", str(output)),
        ],
        env=os.environ | limited,
        check=True,
    )
    assert json.loads(output.read_text())["auto"] == "float32"
