"""The planned speed of the paper's stages: of one document, and of the recipe's own."""

import pytest

from selflong.estimate.speed import SPEED_COLUMNS, speed_cells, stage_speeds
from selflong.run.shapes import model_shape
from tests.paper import PAPER, SITE


@pytest.mark.parametrize("model", ["selflong_8b", "selflong_3b", "selflong_1b"])
def test_packed_documents_use_devices_nearly_as_well_as_one(model: str) -> None:
    for stage in PAPER.models[model].stages:
        flash_2, flash_3 = stage_speeds(PAPER, model_shape(PAPER, SITE, model), stage)
        # Dense layers, of which packed documents have the larger share, lie between the two kernels.
        assert flash_2.mfu / flash_2.document_mfu >= 1.0
        assert flash_3.mfu / flash_3.document_mfu >= 0.89
        assert flash_3.document_mfu >= 0.45 and flash_3.mfu >= 0.42
        assert flash_2.useful == flash_3.useful == 1.0
        for speed in (flash_2, flash_3):
            assert sum(speed.shares.values()) == pytest.approx(1)
            assert speed.shares["offloading"] < 0.06
            assert len(speed_cells(speed)) == len(SPEED_COLUMNS)
