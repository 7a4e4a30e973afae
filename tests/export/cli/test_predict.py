"""``predict``: what comes out for which sources, in which format, and where it is shown."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet
import pytest

from finetune_export import Contract, Prediction, Predictor

from .conftest import Said, refusal

ODD_NAMES = ["a, b.png", 'say "hi".png', "two\nlines.png", "cr\rhere.png", "ねこ è.png", " space .png"]


@pytest.fixture
def odd(pictures: Path, tmp_path: Path) -> Path:
    """Return a folder of pictures whose names are hard to write down, one of which is broken."""
    folder = tmp_path / "odd"
    folder.mkdir()
    for i, name in enumerate(ODD_NAMES):
        shutil.copy(pictures / "cat" / f"00{i % 2 * 2 + 1}.png", folder / name)
    (folder / "broken.png").write_bytes(b"")
    return folder


@pytest.fixture
def expected(model_path: Path) -> Callable[[Path], Prediction]:
    """Return what the predictor itself says about a picture."""
    return lambda path: Predictor(model_path, threads=1).predict(path)[0]


def rows_of_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_table_has_a_line_for_every_picture_in_order(
    cli: Callable[..., Said], model_path: Path, pictures: Path, expected: Callable[[Path], Prediction]
) -> None:
    said = cli("predict", model_path, pictures)

    assert (said.status, said.err) == (0, "")
    files = sorted(path for path in pictures.rglob("*") if path.is_file())
    for line, path in zip(said.out.splitlines(), files, strict=True):
        answer = expected(path)
        shown, rest = line.split("%", 1)
        assert shown.strip() == f"{answer.probability:.1%}"[:-1]
        assert rest.strip().startswith(answer.label)
        assert rest.endswith(f"  {path}")


def test_the_table_shows_as_many_labels_as_asked_for(
    cli: Callable[..., Said], model_path: Path, pictures: Path
) -> None:
    line = cli("predict", model_path, pictures / "cat" / "000.jpg", "--top", 9).out

    assert line.count("%") == 3
    assert all(label in line for label in ("ant", "bee", "Käfer 甲"))


def test_the_table_marks_where_the_model_abstains(
    cli: Callable[..., Said],
    make_graph: Callable[..., onnx.ModelProto],
    seal: Callable[..., bytes],
    contract: Contract,
    write: Callable[[bytes], Path],
    pictures: Path,
) -> None:
    unsure = replace(contract, thresholds=dict.fromkeys(contract.labels, 1.0))
    model = write(seal(make_graph(np.zeros((48, 3), np.float32)), unsure))
    picture = pictures / "cat" / "000.jpg"

    assert cli("predict", model, picture).out == f" 33.3%  ant?       {picture}\n"
    assert rows_of_csv(cli("predict", model, picture, "--format", "csv").out)[0]["abstains"] == "true"


def test_csv_is_one_row_for_every_picture_whatever_it_is_called(
    cli: Callable[..., Said], model_path: Path, odd: Path, expected: Callable[[Path], Prediction]
) -> None:
    said = cli("predict", model_path, odd, "--top", 2, "--format", "csv")

    rows = rows_of_csv(said.out)
    assert (said.status, said.err) == (3, "")
    assert list(rows[0]) == ["path", "label", "probability", "abstains", "error", "label_2", "probability_2"]
    assert [row["path"] for row in rows] == sorted(map(str, odd.iterdir()))
    for row in rows:
        if row["path"].endswith("broken.png"):
            assert row == {**dict.fromkeys(row, ""), "path": str(odd / "broken.png"), "error": "the file is empty"}
            continue
        (label, probability), (label_2, probability_2) = expected(Path(row["path"])).top(2)
        assert (row["label"], row["label_2"], row["abstains"], row["error"]) == (label, label_2, "false", "")
        assert (float(row["probability"]), float(row["probability_2"])) == pytest.approx((probability, probability_2))


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_json_has_all_of_it(
    kind: str, cli: Callable[..., Said], model_path: Path, odd: Path, expected: Callable[[Path], Prediction]
) -> None:
    said = cli("predict", model_path, odd, "--top", 2, "--embeddings", "--format", kind)

    rows = json.loads(said.out) if kind == "json" else [json.loads(line) for line in said.out.splitlines()]
    assert said.status == 3
    assert [row["path"] for row in rows] == sorted(map(str, odd.iterdir()))
    predictor = Predictor(model_path, threads=1)
    for row in rows:
        assert list(row) == ["path", "label", "probability", "abstains", "top", "error", "embedding"]
        if row["error"]:
            assert row == {
                **dict.fromkeys(row),
                "path": str(odd / "broken.png"),
                "error": "the file is empty",
                "top": [],
            }
            continue
        assert row["top"][0] == {"label": row["label"], "probability": row["probability"]}
        assert [each["label"] for each in row["top"]] == [label for label, _ in expected(Path(row["path"])).top(2)]
        assert np.array_equal(np.float32(row["embedding"]), predictor.embeddings(row["path"])[0])
        assert np.float32(row["probability"]) == predictor.answers(row["path"])[0].max()


def test_json_of_no_pictures_is_an_empty_array(process: Callable[..., Said], model_path: Path) -> None:
    assert json.loads(process("predict", model_path, "-", "--format", "json").out) == []


def test_parquet_has_all_of_it(
    cli: Callable[..., Said], model_path: Path, odd: Path, expected: Callable[[Path], Prediction]
) -> None:
    said = cli("predict", model_path, odd, "--top", 2, "--embeddings", "--out", "odd.parquet", "--quiet")

    rows = pyarrow.parquet.read_table("odd.parquet").to_pylist()
    assert (said.status, said.out, said.err) == (3, "", "")
    assert [row["path"] for row in rows] == sorted(map(str, odd.iterdir()))
    sound = [row for row in rows if row["error"] is None]
    assert len(sound) == len(rows) - 1
    for row in sound:
        answer = expected(Path(row["path"]))
        assert [each["label"] for each in row["top"]] == [label for label, _ in answer.top(2)]
        assert (row["label"], row["probability"], row["abstains"]) == (answer.label, answer.probability, False)
        assert len(row["embedding"]) == 48


PARQUET_AWAY = """
import sys
sys.modules["pyarrow"] = None
from finetune_export.cli import main
main(sys.argv[1:])
"""


def test_parquet_without_its_extra_is_an_environment_error(
    process: Callable[..., Said], model_path: Path, pictures: Path
) -> None:
    said = process("predict", model_path, pictures, "--out", "x.parquet", code=PARQUET_AWAY)

    line = refusal(said, 6)
    assert line.startswith("Parquet needs pyarrow, which cannot be imported (")
    assert line.endswith('; pip install "finetune-export[parquet]"')


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_name_that_is_no_text_is_escaped(
    kind: str, process: Callable[..., Said], model_path: Path, pictures: Path, tmp_path: Path
) -> None:
    odd = os.fsdecode(bytes(tmp_path) + b"/\xff.png")
    shutil.copy(pictures / "cat" / "001.png", odd)
    out = tmp_path / f"out.{kind}"

    said = process("predict", model_path, odd, "--out", out, "--quiet", PYTHONIOENCODING="ascii")

    assert (said.status, said.out, said.err) == (0, "", "")
    if kind == "jsonl":
        assert json.loads(out.read_text("utf-8"))["path"] == odd
        return
    escaped = rf"{tmp_path}/\udcff.png"
    rows = rows_of_csv(out.read_text("utf-8")) if kind == "csv" else pyarrow.parquet.read_table(out).to_pylist()
    assert [row["path"] for row in rows] == [escaped]


# ── where they come from, and where they go ─────────────────────────────────────────────────────────


def test_a_picture_that_is_missing_is_named_and_the_others_are_answered(
    cli: Callable[..., Said], model_path: Path, pictures: Path
) -> None:
    first, second = pictures / "cat" / "000.jpg", pictures / "dog" / "000.jpg"
    said = cli("predict", model_path, first, "gone.jpg", second)

    assert said.status == 3
    assert [line.split()[-1] for line in said.out.splitlines()] == [str(first), str(second)]
    assert said.err == "finetune-export: gone.jpg: the file cannot be read (No such file or directory)\n"


def test_a_folder_without_pictures_is_a_data_error(cli: Callable[..., Said], model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    line = refusal(cli("predict", model_path, tmp_path / "empty"), 3)

    assert line.startswith(f"{tmp_path / 'empty'}: a folder without pictures; they end with .jpg, .jpeg")


def test_the_limits_decide_what_is_refused(cli: Callable[..., Said], model_path: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("L", (1100, 1000)).save(tmp_path / "large.png")
    (tmp_path / "heavy.bmp").write_bytes(b"BM" + b"\0" * 2**20)

    said = cli("predict", model_path, tmp_path, "--max-megapixels", 1, "--max-file-mb", 1)

    heavy, large = said.err.splitlines()
    assert said.status == 3
    assert heavy.endswith("heavy.bmp: 1048578 bytes; at most 1048576 are allowed")
    assert large.endswith("large.png: 1100 x 1000 pixels; at most 1000000 are allowed altogether")


def test_a_picture_where_the_model_belongs_is_called_one(
    cli: Callable[..., Said], model_path: Path, pictures: Path
) -> None:
    for picture in (pictures / "cat" / "000.jpg", pictures / "cat" / "001.png"):
        line = refusal(cli("predict", picture, model_path), 4)
        assert line.endswith("it looks like a picture; the model comes first, and pictures after it")


def test_names_with_control_characters_are_shown_escaped(
    cli: Callable[..., Said], model_path: Path, pictures: Path, tmp_path: Path
) -> None:
    name = tmp_path / "red\x1b[31m\n\x9b.png"
    shutil.copy(pictures / "cat" / "001.png", name)

    said = cli("predict", model_path, name, "gone\r.png")

    assert said.out.endswith(r"red\x1b[31m\n\x9b.png" + "\n")
    assert said.err == "finetune-export: gone\\r.png: the file cannot be read (No such file or directory)\n"
    assert json.loads(cli("predict", model_path, name, "--format", "jsonl").out)["path"] == str(name)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
def test_a_file_has_what_stdout_would_have(
    kind: str, cli: Callable[..., Said], model_path: Path, odd: Path, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    printed = cli("predict", model_path, odd, "--format", kind).out
    said = cli("predict", model_path, odd, "--out", f"out.{kind}")

    assert (said.status, said.out) == (3, "")
    assert said.err == f"finetune-export: out.{kind}: 7 rows; 1 could not be read, 'error' says why\n"
    assert tree(Path()) == {f"out.{kind}": printed.encode()}


def test_a_file_that_exists_is_kept_unless_told_otherwise(
    cli: Callable[..., Said], model_path: Path, pictures: Path
) -> None:
    Path("out.csv").write_text("precious")

    line = refusal(cli("predict", model_path, pictures, "--out", "out.csv"), 2)

    assert line == "out.csv exists already; replace it with --overwrite, or give another --out"
    assert Path("out.csv").read_text() == "precious"
    assert cli("predict", model_path, pictures, "--out", "out.csv", "--overwrite").status == 0
    assert Path("out.csv").read_text().startswith("path,label")


def test_a_file_where_none_can_be_written_is_an_environment_error(
    cli: Callable[..., Said], model_path: Path, pictures: Path
) -> None:
    line = refusal(cli("predict", model_path, pictures, "--out", "gone/out.csv"), 6)

    assert line == "Cannot write gone/out.csv.part: No such file or directory; mend that, and run again."


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_two_processes_write_what_one_writes(
    kind: str, cli: Callable[..., Said], model_path: Path, odd: Path, pictures: Path
) -> None:
    for processes in (1, 2):
        out = f"{processes}.{kind}"
        assert cli("predict", model_path, odd, pictures, "--out", out, "--processes", processes).status == 3

    assert Path(f"1.{kind}").read_bytes() == Path(f"2.{kind}").read_bytes()


def test_a_batch_is_answered_like_its_pictures(cli: Callable[..., Said], model_path: Path, odd: Path) -> None:
    one, many = (
        [json.loads(line) for line in cli("predict", model_path, odd, "--format", "jsonl", *words).out.splitlines()]
        for words in ([], ["--batch-size", 4])
    )
    assert [row["label"] for row in one] == [row["label"] for row in many]
    assert [row["probability"] or 0 for row in one] == pytest.approx([row["probability"] or 0 for row in many])


def test_a_provider_that_is_not_there_is_an_environment_error(
    cli: Callable[..., Said], model_path: Path, pictures: Path
) -> None:
    line = refusal(cli("predict", model_path, pictures, "--provider", "abacus"), 6)

    assert line.startswith("onnxruntime provider 'abacus' is not installed")


def test_the_golden_pairs_are_asked_unless_told_otherwise(
    cli: Callable[..., Said],
    make_graph: Callable[..., onnx.ModelProto],
    seal: Callable[..., bytes],
    write: Callable[[bytes], Path],
    pictures: Path,
) -> None:
    model = write(seal(make_graph(), pairs=False))

    assert "finetune.golden" in refusal(cli("predict", model, pictures), 4)
    assert cli("predict", model, pictures, "--no-check").status == 0


# ── progress ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def terminal() -> Callable[..., tuple[int, str]]:
    """Run a command whose stderr is a terminal; return its status and what the terminal got."""
    if os.name != "posix":
        pytest.skip("there are no such terminals here")

    def run(*arguments: object) -> tuple[int, str]:
        import pty

        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "finetune_export", *map(str, arguments)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs) as running:
            os.close(theirs)
            written = b"".join(iter(lambda: _read(ours), b""))
        os.close(ours)
        return running.returncode, written.decode()

    return run


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 2**16)
    except OSError:  # what Linux says when the other end is closed
        return b""


def test_progress_is_one_line_in_a_terminal_and_gone_at_the_end(
    terminal: Callable[..., tuple[int, str]], model_path: Path, many: Path
) -> None:
    status, written = terminal("predict", model_path, *[many] * 8, "--processes", 1, "--format", "csv")

    *shown, last = written.split("\r\x1b[K")
    assert (status, last) == (0, "")
    assert "\n" not in written
    assert any(" of 2,400 pictures, " in line and line.endswith(" left") for line in shown), shown


def test_a_quiet_run_says_nothing(
    terminal: Callable[..., tuple[int, str]], model_path: Path, pictures: Path, tmp_path: Path
) -> None:
    assert terminal("predict", model_path, pictures, "--out", tmp_path / "out.csv", "--quiet") == (0, "")
