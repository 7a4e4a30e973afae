"""The plugin, held against every rule for what it offers."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from finetune.testing import Case, Conformance

FEATURES = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}


def row(number: int) -> dict[str, Any]:
    file = io.BytesIO()
    Image.new("RGB", (40, 36), (9 * number, 90, 60)).save(file, "JPEG")
    return {"image": {"bytes": file.getvalue(), "path": f"{number}.jpg"}, "label": number % 2}


class TestConformance(Conformance):
    """With a copy of a small set, and with the same set on a stand-in for the hub."""

    case = Case(plugin="hf", name="ann/pets")

    @pytest.fixture(autouse=True)
    def _offered(self, hub: Any, tmp_path: Path) -> None:
        write_set(tmp_path)
        hub.offer("ann/pets", {file.name: file.read_bytes() for file in tmp_path.iterdir()})

    @classmethod
    def prepare(cls, folder: Path) -> Case:
        write_set(folder)
        return replace(cls.case, data=folder)


def write_set(folder: Path) -> None:
    for split, numbers in (("train", range(4)), ("test", range(4, 8))):
        info = {"huggingface": json.dumps({"info": {"features": FEATURES}})}
        table = pa.Table.from_pylist([row(number) for number in numbers]).replace_schema_metadata(info)
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\nPets.\n", encoding="utf-8")
