"""Settings of training that exclude each other are one sentence before any job."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from selflong.job import UserError
from selflong.recipe.loading import load_site
from selflong.recipe.site import TrainingSite

ROOT = Path(__file__).parents[2]


def load(folder: Path, **settings: Any) -> TrainingSite:
    site = yaml.safe_load((ROOT / "config.yaml").read_text())
    site["training"] = {"device": "cuda", "ranks_per_node": 8} | settings
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(site))
    return load_site(path).training


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"offload_parameters": True, "zero_stage": 2}, "needs zero_stage: 3"),
        ({"offload_parameters": True}, "needs offload_optimizer: true"),
        ({"offload_nvme": "/disk", "zero_stage": 2}, "needs zero_stage: 3"),
        ({"offload_nvme": "/disk", "offload_optimizer": False}, "that offload_optimizer: false keeps"),
        ({"offload_nvme": "disk"}, "must begin with /"),
        ({"nodes": 2, "zero_hpz_partition_size": 8, "zero_stage": 1}, "needs zero_stage: 3"),
        (
            {
                "nodes": 2, "zero_hpz_partition_size": 8, "offload_parameters": True,
                "offload_optimizer": True,
            },
            "what offload_parameters removes",
        ),
        ({"zero_hpz_partition_size": 8}, "for several nodes"),
        ({"nodes": 2, "zero_hpz_partition_size": 3}, "divisor of ranks_per_node"),
        ({"mlp_tiles": 0}, "mlp_tiles"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_sentence(
    tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match="training") as mistake:
        load(tmp_path, **settings)
    assert words in str(mistake.value)
    assert "\n" not in str(mistake.value)


def test_what_makes_sense_is_read(tmp_path: Path) -> None:
    two_nodes = load(tmp_path, nodes=2, zero_hpz_partition_size=4)
    assert two_nodes.zero_hpz_partition_size == 4
    assert load(tmp_path, offload_parameters=True, offload_optimizer=True).offload_parameters
    assert load(tmp_path, offload_nvme="/disk").offload_nvme == Path("/disk")
