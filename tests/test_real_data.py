"""The promises, on real photos with real weights: `make test-real`, with FINETUNE_REAL_DATA set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import finetune
from finetune_export import Predictor


@pytest.fixture
def real() -> Path:
    folder = os.environ.get("FINETUNE_REAL_DATA")
    if not folder or not Path(folder, "hymenoptera").is_dir():
        pytest.skip("FINETUNE_REAL_DATA does not point at the real photos")
    return Path(folder)


@pytest.mark.real_data
@pytest.mark.timeout(900)
def test_ants_and_bees_reach_95_per_cent_and_the_file_agrees_on_all_153(real: Path, tmp_path: Path) -> None:
    weights = real.parent / "weights" / "mobilenet_v2.safetensors"
    result = finetune.run(data=real / "hymenoptera", weights=str(weights), epochs=0, out=tmp_path)
    assert result.value >= 0.95
    assert (result.exported_value, result.compared, result.agreement) == (result.value, 153, 1.0)
    (bee,) = Predictor(result.onnx).predict(real / "hymenoptera" / "val" / "bees" / "1032546534_06907fe3b3.jpg")
    assert bee.label == "bees"
