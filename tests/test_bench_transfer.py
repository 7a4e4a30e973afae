"""The comparison of ways to transfer: who is trained on what, what is kept, and what several runs come to."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

BENCH = Path(__file__).parent / "bench"
sys.path.insert(0, str(BENCH))  # as Python does for a script

import starter  # noqa: E402
import transfer_demo  # noqa: E402
from cells import Cell, Found, Planned, append, of_these, read, weights_sha256  # noqa: E402
from compared import gain, heading, spread, tables  # noqa: E402
from shares import by_class, shares  # noqa: E402
from side_by_side import measure  # noqa: E402
from transfer_plot import plot  # noqa: E402
from ways import FINETUNED, PROBE, SCRATCH, WAYS, Start, options  # noqa: E402

sys.path.remove(str(BENCH))

from finetune.errors import ConfigError  # noqa: E402
from finetune.intent import discover  # noqa: E402
from finetune.types import Example  # noqa: E402

BREEDS = {breed: [Path(f"/dogs/{breed}/{number:03}.jpg") for number in range(100)] for breed in ("Corgi", "Pug")}


def cell(data: str = "5 pictures", way: str = PROBE, seed: int = 42, **told: object) -> Cell:
    return Cell(data=data, way=way, seed=seed, options={"epochs": 4, **told}, weights_sha256="")


def found(accuracy: float = 0.5, **about: object) -> Found:
    return Found(
        cell=cell(**about),  # type: ignore[arg-type]
        accuracy=accuracy,
        valid_accuracy=0.6,
        training_s=2.0,
        whole_s=5.0,
        date="2026-11-21",
    )


def rows(markdown: str) -> dict[str, list[str]]:
    """Return the cells of every row of a table, by the first cell."""
    lines = [line.strip("| ").split(" | ") for line in markdown.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in lines}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights of the small network: random ones, which are as good as any to see that everything runs."""
    from safetensors.torch import save_file

    from finetune.builtin.small_resnet import BACKBONE, build

    file = tmp_path / "weights.safetensors"
    save_file(build(BACKBONE, 16).model.state_dict(), file)
    return file


# ── who is trained on what ──────────────────────────────────────────────────────────────────────────


@given(sizes=st.tuples(st.integers(1, 50), st.integers(1, 50)), seeds=st.tuples(st.integers(0), st.integers(0)))
def test_what_judges_and_what_chooses_is_always_the_same_and_never_trained_on(
    sizes: tuple[int, int], seeds: tuple[int, int]
) -> None:
    first, second = (
        shares(BREEDS, train=size, valid=10, test=40, seed=seed) for size, seed in zip(sizes, seeds, strict=True)
    )
    assert (first["valid"], first["test"]) == (second["valid"], second["test"])
    for breed, pictures in BREEDS.items():
        parts = [first[part][breed] for part in ("train", "valid", "test")]
        assert [len(part) for part in parts] == [sizes[0], 10, 40]
        assert len(set(itertools.chain(*parts)) & set(pictures)) == sizes[0] + 50


def test_the_seed_picks_the_training_pictures_and_few_are_among_many() -> None:
    few, many, other = (
        set(shares(BREEDS, train=size, valid=10, test=40, seed=seed)["train"]["Pug"])
        for size, seed in ((5, 42), (40, 42), (5, 43))
    )
    assert few < many
    assert few != other


def test_a_class_with_too_few_pictures_is_named() -> None:
    with pytest.raises(ValueError, match="Corgi has 100 pictures, and 101 are needed"):
        shares(BREEDS, train=51, valid=10, test=40, seed=42)


def test_all_ways_see_the_same_network_size_and_batches_and_as_many_epochs() -> None:
    told = {way: options(way, Start(backbone="resnet18", weights="pretrained"), 20) for way in WAYS}
    for name in ("backbone", "image_size", "batch_size"):
        assert len({told[way][name] for way in WAYS}) == 1
    assert told[SCRATCH]["epochs"] == told[PROBE]["freeze_epochs"] == 20
    assert told[FINETUNED]["freeze_epochs"] + told[FINETUNED]["epochs"] == 20
    assert [told[way]["weights"] for way in WAYS] == ["none", "pretrained", "pretrained"]
    for way in WAYS:
        assert discover({"data": Path(), **told[way]}).backbone.name == "resnet18"  # they are options of a run


def test_sizes_are_sorted_and_those_that_cannot_be_had_are_refused() -> None:
    assert transfer_demo.sizes("40,5,5") == (5, 40)
    for text in ("0,5", "51", "five", ""):
        with pytest.raises(ValueError, match=r".*"):
            transfer_demo.sizes(text)


def test_every_run_of_the_demo_is_planned_with_its_pictures(weights: Path) -> None:
    classes = {breed: BREEDS[breed] for breed in BREEDS}
    planned = transfer_demo.plan(classes, Start(backbone="resnet18_half", weights=str(weights)), (5, 40), (42, 43), 8)
    assert len({(item.cell.data, item.cell.way, item.cell.seed) for item in planned}) == len(planned) == 2 * 2 * 3
    for item in planned:
        assert [len(item.parts[part]["Pug"]) for part in ("train", "valid", "test")] in ([5, 10, 40], [40, 10, 40])
        assert bool(item.cell.weights_sha256) == (item.cell.way != SCRATCH)


def test_photos_are_judged_by_those_that_are_set_apart_and_what_is_no_photo_is_left_out(
    picture_folder: Callable[..., Path],
) -> None:
    folder = picture_folder(("ants", "bees"), count=12, parts=("train", "val"), name="hymenoptera")
    (folder / "train" / "ants" / starter.NO_PHOTO).write_bytes(b"")
    photos = starter.PhotoSet(name="insects", learned="hymenoptera/train", judged="hymenoptera/val", train=8, valid=4)
    parts = photos.parts(folder.parent, seed=42)
    assert {part: len(parts[part]["ants"]) for part in parts} == {"train": 8, "valid": 4, "test": 12}
    assert {path.parent.parent.name for path in parts["test"]["bees"]} == {"val"}


def test_without_photos_the_starter_is_not_measured_and_that_is_no_failure() -> None:
    env = {name: value for name, value in os.environ.items() if name != "FINETUNE_REAL_DATA"}
    command = [sys.executable, str(BENCH / "starter.py")]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    said = "Skipped: FINETUNE_REAL_DATA is not set; it has to point at the folder of the real photos.\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, said, "")


# ── what is kept ────────────────────────────────────────────────────────────────────────────────────


def test_what_was_told_anything_else_is_not_taken_for_done(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    first, second = found(0.5), found(0.7)
    for result in (first, found(0.9, lr=0.1), second):
        append(log, result)
    with log.open("a") as file:
        file.write('{"cell": {"data": "5 pi')
    assert of_these([cell()], read(log)) == [second]
    assert of_these([cell(seed=43), cell(epochs=5)], read(log)) == []
    assert read(tmp_path / "none.jsonl") == []


def test_other_weights_are_another_start(tmp_path: Path) -> None:
    file = tmp_path / "some.pth"
    file.write_bytes(b"weights")
    told = {"data": tmp_path, "backbone": "resnet18_half"}
    assert weights_sha256({**told, "weights": "none"}) == ""
    assert weights_sha256({**told, "weights": str(file)}).startswith("9a129038")
    with pytest.raises(ConfigError, match="resnet18_half"):
        weights_sha256({**told, "weights": "pretrained"})


# ── what several runs come to ───────────────────────────────────────────────────────────────────────


def test_mean_and_deviation_are_in_percent() -> None:
    assert spread([0.5, 0.7]) == "60.0 ± 14.1"
    assert spread([0.5]) == "50.0"
    assert spread([]) == "–"


def test_a_difference_is_taken_seed_by_seed_and_has_an_interval() -> None:
    # Of 10, 20 and 30 points: 20 ± 4.303 × 10 / √3, by the t distribution with two degrees of freedom.
    assert gain({1: 0.5, 2: 0.7, 3: 0.9}, {1: 0.4, 2: 0.5, 3: 0.6, 4: 0.0}) == "+20.0 (-4.8 to +44.8)"
    assert gain({1: 0.5}, {1: 0.75}) == "-25.0"
    assert gain({1: 0.5}, {2: 0.5}) == "–"


def test_the_tables_have_a_row_for_each_size_and_a_column_for_each_way() -> None:
    scores = {SCRATCH: 0.3, PROBE: 0.8, FINETUNED: 0.9}
    results = [found(score + seed / 100, way=way, seed=seed) for way, score in scores.items() for seed in (1, 2)]
    accuracy, points, seconds = (rows(text) for text in tables(results, "pictures") if text.startswith("|"))
    assert accuracy["5 pictures"] == ["31.5 ± 0.7", "81.5 ± 0.7", "91.5 ± 0.7"]
    assert points["5 pictures"] == ["+60.0 (+60.0 to +60.0)", "+50.0 (+50.0 to +50.0)", "+10.0 (+10.0 to +10.0)"]
    assert seconds["5 pictures"] == ["2.0", "2.0", "2.0"]


def test_the_heading_says_what_was_told_and_not_where_a_file_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["demo.py", "--weights", "/home/me/own.safetensors"])
    text = heading([found(weights="/home/me/own.safetensors"), found(seed=43)], 1.25, "python demo.py")
    assert text.startswith("2026-11-21, 2 runs, 2 seed(s), 0.2 minutes of runs, ")
    assert "python demo.py --weights own.safetensors`" in text
    assert text.endswith("- probe: epochs 4")
    assert "- probe: epochs 4, weights own.safetensors" in heading([found(weights="/home/me/own.safetensors")], 1.0, "")


def test_the_plot_is_a_picture_that_lets_the_page_shine_through(tmp_path: Path) -> None:
    file = tmp_path / "plot.png"
    file.write_bytes(plot({way: {5: [0.2, 0.3], 40: [0.8]} for way in WAYS}))
    with Image.open(file) as picture:
        assert picture.mode == "RGBA"
        assert picture.getpixel((3, 3))[3] == 0


# ── running ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_is_measured_kept_and_not_repeated(
    picture_folder: Callable[..., Path], weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = picture_folder(("corgi", "pug"), count=8)
    classes = by_class(Example(path=path, label=path.parent.name) for path in folder.rglob("*.*"))
    told = options(FINETUNED, Start(backbone="resnet18_half", weights=str(weights), image_size=16), 4)
    parts = shares(classes, train=3, valid=2, test=3, seed=42)
    planned = [Planned(cell=Cell(data="pets", way=FINETUNED, seed=42, options=told, weights_sha256=""), parts=parts)]
    log = tmp_path / "log.jsonl"
    (result,) = measure(planned, log, jobs=1)
    assert result.accuracy in [right / 6 for right in range(7)]
    assert 0 < result.training_s < result.whole_s
    capsys.readouterr()
    assert measure(planned, log, jobs=1) == [result]
    assert capsys.readouterr().err == "1 runs, of these 1 done before.\n"
