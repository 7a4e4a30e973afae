"""The report of a run: made of its records alone, whole whatever its sections do, and refused where there is none."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetune.errors import ConfigError, DataError, ModelError
from finetune.report import make_again
from finetune.report.reading import FOR_LOOKS, NEEDED, read_records

from .conftest import EACH, HOSTILE, LABELS
from .document import Document

TITLES = [
    *("Summary", "Scores", "Confusion", "Mistakes", "Calibration", "Learning curves"),
    *("Classes", "Exported files", "Provenance"),
]
"""Of a run whose pictures are not there, and that found nothing out beyond what is needed."""


def of_absent_pictures(text: str) -> None:
    """Take a note that pictures are missing, as those of our runs are, and no other."""
    assert re.match(r"The report goes without \d+ pictures that are not as they were, ", text), text


def report_of(run: Path, note: Callable[[str], None] = of_absent_pictures) -> Document:
    return Document(make_again(run, note).read_text(encoding="utf-8"))


# ── the page ────────────────────────────────────────────────────────────────────────────────────────


def test_the_built_in_sections_come_first_with_a_table_of_contents(run_of: Any, section: Any) -> None:
    section("return [Paragraph('Much.')]")

    found = report_of(run_of())

    assert found.texts["h2"] == [*TITLES, "More <of> it"]
    assert found.texts["a"] == ["Skip to the content", *found.texts["h2"]]
    ids = [attributes["id"] for attributes in found.named("section")]
    assert [attributes["href"] for attributes in found.named("a")] == ["#content", *(f"#{name}" for name in ids)]


def test_every_table_says_what_it_shows_and_which_cells_are_headers(run_of: Any) -> None:
    found = report_of(run_of())

    assert all(attributes["aria-label"] for attributes in found.named("table"))
    assert {attributes["scope"] for attributes in found.named("th") if "scope" in attributes} == {"col", "row"}


def test_the_sections_say_what_the_run_came_to(run_of: Any) -> None:
    found = report_of(run_of())
    cells = found.texts["td"]

    assert "50.0% (95 % interval: 21.0% to 79.0%)" in cells
    assert {"1.250", "0.210", "0.110", "some 2.0", "MIT", "a disk", "CC0-1.0", "0.7"} <= set(cells)
    assert {"The probe is kept.", "Few pictures.", "A note."} <= set(found.texts["p"])
    assert "To repeat the run:" in found.texts["p"]
    assert any(text.startswith("finetune run --config ") for text in found.texts["code"])


def test_names_of_any_script_are_shown_as_they_are_and_never_as_markup(run_of: Any) -> None:
    found = report_of(run_of())

    assert set(LABELS) <= set(found.texts["th"])
    assert found.texts["title"] == ["insects & <b>more</b>, tiny"]
    assert [image for image in found.named("img") if "onerror" in image] == []


def test_of_a_thousand_labels_the_worst_are_shown_and_where_the_others_are(run_of: Any) -> None:
    found = report_of(run_of([f"label {number:04}" for number in range(1000)]))

    assert "The 100 labels with the worst f1, of 1,000, validation pictures" in found.texts["p"]
    assert "All labels are in metrics.json." in found.texts["p"]


def test_a_run_without_epochs_has_no_curves(run_of: Any) -> None:
    run = run_of()
    (run / "history.csv").write_text("phase,epoch,train_loss,valid_loss,accuracy\n")

    assert report_of(run).texts["h2"] == [title for title in TITLES if title != "Learning curves"]


# ── sections ────────────────────────────────────────────────────────────────────────────────────────

WRONG = {
    "1 / 0": "failed: ZeroDivisionError: division by zero. FINETUNE_DEBUG=1 shows where.",
    "raise SystemExit(0)": "failed: SystemExit: 0. FINETUNE_DEBUG=1 shows where.",
    "raise MemoryError": "MemoryError",
    "return None": "is broken: it returned NoneType instead of blocks.",
    "return '<b>'": "is broken: it returned str instead of blocks.",
    "return ['<b>']": "is broken: it returned str among its blocks; those are Paragraph, Table, Figure, Gallery, "
    "Confusion and PictureMap.",
    "return [Paragraph(3)]": "is broken: the text of a paragraph is int.",
    "records.metrics['valid'] = 1": "failed: TypeError: 'mappingproxy' object does not support item assignment.",
    "records.answers[0] = 1": "failed: ValueError: assignment destination is read-only.",
}


@pytest.mark.parametrize("does", WRONG)
def test_a_section_that_goes_wrong_leaves_a_word_in_its_place_and_a_note(does: str, run_of: Any, section: Any) -> None:
    section(does)
    said: list[str] = []

    found = report_of(run_of(), said.append)

    (problem,) = [text for text in found.texts["p"] if text.startswith("This section is missing. ")]
    assert WRONG[does] in problem
    assert found.texts["h2"] == [*TITLES, "More <of> it"]
    (note,) = (text for text in said if "pictures that are not" not in text)
    assert note.startswith("The report goes without the section 'more': ")
    if "MemoryError" not in does:
        assert "(finetune_more 1.2)" in note


def test_a_section_that_has_nothing_to_say_has_no_place(run_of: Any, section: Any) -> None:
    section("return ()")

    assert report_of(run_of()).texts["h2"] == TITLES


def test_a_section_is_given_what_the_run_has_written_down(run_of: Any) -> None:
    run = run_of()

    found = read_records(run, ("accuracy",))

    assert (found.task, found.labels, found.result.run) == ("single-label", LABELS, run)
    assert found.answers.shape == (EACH * len(LABELS), len(LABELS))
    assert found.targets.tolist() == [number for number in range(len(LABELS)) for _ in range(EACH)]
    assert [path.name for path in found.paths] == [
        f"{n}-valid-{i}.png" for n in range(len(LABELS)) for i in range(EACH)
    ]
    assert (len(found.split), found.history[0]["phase"], found.options["seed"]) == (4 * len(LABELS), "frozen", 42)
    assert found.verification[0].passed


def test_of_a_folder_that_was_moved_the_paths_are_the_new_ones(run_of: Any, tmp_path: Path) -> None:
    moved = run_of().rename(tmp_path / "elsewhere")

    assert read_records(moved, ()).result.artifacts == {"onnx": moved / "model.onnx"}


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────


def test_a_folder_that_no_run_left_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is no run's folder: it has no run\.json\. Name the folder"):
        make_again(tmp_path, pytest.fail)


def test_a_cross_validation_is_refused_with_what_to_name_instead(tmp_path: Path) -> None:
    (tmp_path / "folds.json").write_text("{}")
    with pytest.raises(
        ConfigError, match=r"is a cross-validation; report one of its runs, in a folder within it, or compare them: "
    ):
        make_again(tmp_path, pytest.fail)


@pytest.mark.parametrize("status", ["running", "failed", "interrupted"])
def test_a_run_that_is_not_done_is_refused_with_how_to_go_on(status: str, run_of: Any) -> None:
    run = run_of()
    (run / "run.json").write_text(json.dumps({"status": status}))

    with pytest.raises(ConfigError, match=rf"is not finished \({status}.*\).* Go on with: finetune run --resume"):
        make_again(run, pytest.fail)


@pytest.mark.parametrize("name", [name for name in NEEDED if name != "run.json"])
def test_what_is_missing_is_named(name: str, run_of: Any) -> None:
    run = run_of()
    (run / name).unlink()

    with pytest.raises(ConfigError, match=f"cannot be reported: it has no {name}. Name the folder of one run"):
        make_again(run, pytest.fail)
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("name", NEEDED)
def test_what_is_damaged_is_named(name: str, run_of: Any) -> None:
    run = run_of()
    (run / name).write_bytes(b"\xff\xfe[")

    error = ModelError if name == "model.onnx" else DataError
    way_out = "Put it back" if name == "config.toml" else "Repeat the run with: finetune run --config "
    with pytest.raises(error, match=rf"/{name} is damaged \(.+\), and the run cannot be reported\. {way_out}"):
        make_again(run, pytest.fail)
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("metrics.json", '{"x": 1}', "it does not say 'valid'"),
        ("data.json", '{"refused": []}', "it does not say 'ignored'"),
        ("verification.json", "[1]", "it is not made as runs write it"),
        ("split.csv", "part,label,path\nvalid,ant,a.png\n", "it does not say 'sha256'"),
        ("answers.npy", "none", "it is no array"),
    ],
)
def test_what_is_no_record_of_a_run_is_named_in_words(name: str, content: str, cause: str, run_of: Any) -> None:
    run = run_of()
    (run / name).write_text(content)

    with pytest.raises(DataError, match=re.escape(f"/{name} is damaged ({cause}), and the run cannot be reported.")):
        make_again(run, pytest.fail)


@pytest.mark.parametrize("name", FOR_LOOKS)
def test_what_a_report_can_do_without_is_told_to_be_removed(name: str, run_of: Any) -> None:
    run = run_of()
    (run / name).write_text("{}" if "find" in name or "errors" in name else "[{}]")

    with pytest.raises(DataError, match=rf"/{name} is damaged .*The report can do without it: remove it, and repeat"):
        make_again(run, pytest.fail)


def test_a_job_that_has_no_report_is_told_apart_from_a_damaged_run(run_of: Any) -> None:
    run = run_of()
    (run / "run.json").write_text(json.dumps({"status": "done", "job": "pretrain", "result": {}}))

    with pytest.raises(ConfigError, match="is of a pretraining, an audit or a search for the learning rate, which"):
        make_again(run, pytest.fail)


def test_answers_of_other_pictures_are_refused(run_of: Any) -> None:
    run = run_of()
    np.save(run / "answers.npy", np.zeros((3, 4), np.float32))

    told = r"answers\.npy is damaged \(it holds float32 \(3, 4\), and split\.csv and the model ask for float32 \(8, 4\)"
    with pytest.raises(DataError, match=told):
        make_again(run, pytest.fail)


def test_pictures_that_are_not_there_are_told_and_others_in_their_place_refused(run_of: Any, tmp_path: Path) -> None:
    run = run_of()
    said: list[str] = []
    make_again(run, said.append)
    page = (run / "report.html").read_bytes()
    (other := tmp_path / "other").mkdir()
    (other / "a.png").write_bytes(b"no picture of this run")

    assert [
        note for note in said if re.match(r"The report goes without \d+ pictures that are not as they were, ", note)
    ]
    with pytest.raises(DataError, match=r"^--data .*other holds none of the pictures of .*Name the folder where they"):
        make_again(run, pytest.fail, other)
    assert (run / "report.html").read_bytes() == page


def test_the_command_prints_the_path_and_loads_no_torch(run_of: Any) -> None:
    run = run_of()
    code = (
        "import sys; from finetune.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(sorted({'torch', 'fastai', 'onnxruntime'} & set(sys.modules)))"
    )

    said = subprocess.run([sys.executable, "-c", code, "report", str(run)], capture_output=True, text=True, check=False)

    assert said.stdout.splitlines() == [str(run / "report.html"), "[]"], said.stderr
    assert HOSTILE not in (run / "report.html").read_text()
