"""The notebook is run in a kernel of its own and shows what it promises; what readers see of it is small."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent.parent / "examples" / "notebook.ipynb"
LONGEST_S = 240
MOST_BYTES = 700_000


def shown(notebook: Any) -> list[tuple[str, str]]:
    """Return what the cells show: the kind of output, and its text where it has one."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    texts = [("stream", output.text) for output in outputs if output.output_type == "stream"]
    return texts + [(kind, str(value)) for output in outputs for kind, value in output.get("data", {}).items()]


@pytest.mark.slow
def test_the_notebook_runs_from_pictures_to_a_prediction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")  # or jupyter warns of its own default
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (folder := tmp_path / "work").mkdir()

    NotebookClient(notebook, timeout=LONGEST_S, resources={"metadata": {"path": str(folder)}}).execute()

    found = shown(notebook)
    tables = [text for kind, text in found if kind == "text/html" and "train_loss" in text]
    said = "".join(text for kind, text in found if kind == "stream")
    assert len(tables) >= 2, "fastai's table of epochs, for each phase"
    assert all(f"<th>{name}</th>" in tables[-1] for name in ("epoch", "train_loss", "valid_loss", "accuracy", "time"))
    assert len([kind for kind, _ in found if kind == "image/png"]) == 4
    assert "the exported file gave the same answer on 100% of 240 pictures" in said
    assert sum("%" in line and ":" in line for line in said.splitlines()[-3:]) == 3
    assert [path.name for path in folder.glob("runs/*/report.html")] == ["report.html"]


def test_the_notebook_is_small_names_no_machine_and_ran_from_top_to_bottom() -> None:
    content = NOTEBOOK.read_text(encoding="utf-8")
    cells = [cell for cell in json.loads(content)["cells"] if cell["cell_type"] == "code"]

    assert len(content) < MOST_BYTES
    assert not any(place in content for place in (str(Path.home()), os.sep + "tmp", str(Path.cwd())))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
