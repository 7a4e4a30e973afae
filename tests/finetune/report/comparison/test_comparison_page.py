"""The page that compares runs: what its sections show, and that damage and strange names do not break it."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from finetune.errors import ConfigError, ResourceError
from finetune.report.comparison import differing, facts, make_comparison, results
from finetune.report.comparison.charts import LINES, MARKERS, Curve, compared_curves
from finetune.report.comparison.comparing import Comparison, compare
from finetune.report.comparison.folders import LETTERS, runs_in
from finetune.types import Block, Figure, Gallery, Paragraph, Table

from .run_folders import LABELS, cross_validation, draw, insects, write_run

PNG = b"\x89PNG\r\n\x1a\n"


def compared(*runs: Path, data: Path | None = None) -> Comparison:
    return compare(runs_in(runs), ("accuracy",), data)


def tables(blocks: Iterable[Block]) -> list[Table]:
    return [block for block in blocks if isinstance(block, Table)]


def texts(blocks: Iterable[Block]) -> list[str]:
    return [block.text for block in blocks if isinstance(block, Paragraph)]


def galleries(blocks: Iterable[Block]) -> list[Gallery]:
    return [block for block in blocks if isinstance(block, Gallery)]


# ── results ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_best_run_is_named_and_so_are_those_that_share_the_place(tmp_path: Path) -> None:
    runs = [insects(tmp_path / name, wrong=wrong) for name, wrong in (("a", [1]), ("b", []), ("c", []))]

    assert results.best(compared(*runs[:2])) == "Run B has the best accuracy on the validation pictures, 100.0%."
    assert (
        results.best(compared(*runs)) == "The runs B and C share the best accuracy on the validation pictures, 100.0%."
    )
    other = insects(tmp_path / "d", pictures=draw(tmp_path / "other", 6, seed=1))
    assert "not all validated on the same pictures" in results.best(compared(runs[0], other))


def test_a_run_whose_metric_is_undefined_is_never_the_best(tmp_path: Path) -> None:
    lost = {"value": math.nan, "interval": (math.nan, math.nan)}
    runs = [insects(tmp_path / "a", **lost), insects(tmp_path / "b", wrong=[0]), insects(tmp_path / "c", **lost)]

    assert results.best(compared(*runs[:2])) == "Run B has the best accuracy on the validation pictures, 91.7%."
    undefined = compared(runs[0], runs[2])
    assert results.best(undefined) == "The accuracy on the validation pictures is undefined for every run."
    table, _ = tables(results.glance(undefined))
    assert [row[2:4] for row in table.rows] == [("–", "– to –")] * 2


def test_the_runs_are_shown_with_intervals_and_with_the_test_part_where_there_is_one(tmp_path: Path) -> None:
    tested = {"test_scores": {"accuracy": 0.25}, "test_interval": (0.125, 0.5)}
    runs = [insects(tmp_path / "a", wrong=[0, 1, 2]), insects(tmp_path / "b", **tested)]

    first, made = tables(results.glance(compared(*runs)))

    assert first.header[-2:] == ("test accuracy", "95 % interval of it")
    assert first.rows == (
        ("A", "a", "75.0%", "65.0% to 85.0%", "12", "–", "–"),
        ("B", "b", "100.0%", "90.0% to 110.0%", "12", "25.0%", "12.5% to 50.0%"),
    )
    assert made.rows == (("A", "insects", "tiny", "none", "probe"), ("B", "insects", "tiny", "none", "probe"))


def test_the_paired_test_is_shown_with_its_counts_and_its_sources(tmp_path: Path) -> None:
    found = compared(insects(tmp_path / "a", wrong=[0, 1, 2]), insects(tmp_path / "b", wrong=[2, 3]))
    blocks = list(results.on_shared_pictures(found))
    test, counts = tables(blocks)

    assert test.rows == (("B", "12", "+8.3", "-23.9 to +38.2", "1", "75.0%", "83.3%"),)
    assert counts.rows == (("B", "8", "1", "2", "1"),)
    assert "McNemar's of 1947, exact" in texts(blocks)[0]


def test_runs_without_common_pictures_have_no_paired_section(tmp_path: Path) -> None:
    pictures = draw(tmp_path / "pictures", 12)
    found = compared(insects(tmp_path / "a", pictures=pictures[:6]), insects(tmp_path / "b", pictures=pictures[6:]))
    assert list(results.on_shared_pictures(found)) == []
    assert list(differing.pictures(found)) == []


def test_every_metric_is_side_by_side_and_a_dash_where_a_run_has_none(tmp_path: Path) -> None:
    runs = [insects(tmp_path / name) for name in "ab"]
    metrics = json.loads((runs[1] / "metrics.json").read_text())
    metrics["valid"]["values"] |= {"log-loss": 0.25, "mean-auroc": None, "top-5": math.nan}
    (runs[1] / "metrics.json").write_text(json.dumps(metrics))

    (table,) = tables(results.scores(compared(*runs)))

    assert table.header == ("metric", "run A", "run B")
    assert table.rows == (
        *(("accuracy", "100.0%", "100.0%"), ("log-loss", "–", "0.25")),
        *(("mean-auroc", "–", "–"), ("top-5", "–", "–")),
    )


# ── where they part ─────────────────────────────────────────────────────────────────────────────────


def test_labels_that_differ_most_come_first(tmp_path: Path) -> None:
    found = compared(insects(tmp_path / "a"), insects(tmp_path / "b", wrong=[1, 4, 7, 10]))  # every bee is a 甲
    (table,) = tables(differing.classes(found))
    assert [row[0] for row in table.rows] == ["bee", "ant", "<b>甲</b>"]


def test_labels_of_a_run_that_was_not_measured_have_dashes(tmp_path: Path) -> None:
    runs = [insects(tmp_path / name, wrong=[1]) for name in "ab"]
    (runs[1] / "metrics.json").write_text('{"valid": null, "test": null}')
    (table,) = tables(differing.classes(compared(*runs)))
    assert table.rows == (("ant", "1.000", "–"), ("bee", "0.750", "–"), ("<b>甲</b>", "1.000", "–"))


def test_pictures_that_one_run_alone_gets_right_are_shown_both_ways_with_both_answers(tmp_path: Path) -> None:
    found = compared(insects(tmp_path / "a", wrong=[0]), insects(tmp_path / "b", wrong=[1, 2]))
    better, worse = galleries(differing.pictures(found))

    assert better.caption == "1 picture that run B gets right and run A wrong"
    assert worse.caption == "2 pictures that run A gets right and run B wrong"
    (picture,) = better.pictures
    assert picture.lines == ("shows ant", "A: bee 80%", "B: ant 80%", "0.png")
    assert picture.image is not None
    assert "ant" in picture.alt


def test_of_many_pictures_twelve_are_shown(tmp_path: Path) -> None:
    pictures = draw(tmp_path / "pictures", 30)
    runs = [insects(tmp_path / f"{n}", wrong=range(n), pictures=pictures) for n in (0, 20)]
    (gallery,) = galleries(differing.pictures(compared(*runs)))
    assert len(gallery.pictures) == 12
    assert gallery.caption == "20 pictures that run A gets right and run B wrong, the clearest 12 first"


def test_pictures_that_are_gone_leave_placeholders_until_it_is_said_where_they_are(tmp_path: Path) -> None:
    runs = [insects(tmp_path / "a", wrong=[0]), insects(tmp_path / "b")]
    (tmp_path / "pictures").rename(tmp_path / "moved")

    blocks = list(differing.pictures(compared(*runs)))
    found = list(differing.pictures(compared(*runs, data=tmp_path / "moved")))

    assert galleries(blocks)[0].pictures[0].image is None
    assert texts(blocks)[0].startswith("1 picture cannot be shown, and placeholders stand in; first ")
    assert galleries(found)[0].pictures[0].image is not None
    assert texts(found) == []


def test_of_values_the_pictures_are_shown_that_one_run_is_closer_to(tmp_path: Path) -> None:
    pictures, targets = draw(tmp_path / "pictures", 3), np.array([[1.0], [2.0], [3.0]])
    runs = [
        write_run(
            tmp_path / f"{at}", pictures, ["1.0", "2.0", "3.0"], targets + off, task="regression", labels=("age",)
        )
        for at, off in enumerate(([[0.5], [0], [0]], [[0], [0], [0.25]]))
    ]
    closer, further = galleries(differing.pictures(compared(*runs)))

    assert closer.caption == "Pictures on which run B is closer than run A"
    assert closer.pictures[0].lines == ("shows age 1", "A: age 1.5", "B: age 1", "0.png")
    assert further.pictures[0].lines == ("shows age 3", "A: age 3", "B: age 3.25", "2.png")


def test_of_several_labels_all_have_to_be_right(tmp_path: Path) -> None:
    pictures, shown = draw(tmp_path / "pictures", 2), ["ant|bee", ""]
    answers = np.array([[0.9, 0.9, 0.1], [0.1, 0.1, 0.1]], np.float32), np.array([[0.9, 0.4, 0.1], [0.1, 0.1, 0.7]])
    runs = [write_run(tmp_path / f"{at}", pictures, shown, each, task="multi-label") for at, each in enumerate(answers)]
    (gallery,) = galleries(differing.pictures(compared(*runs)))

    assert sorted(picture.lines[:3] for picture in gallery.pictures) == [
        ("shows ant, bee", "A: ant, bee", "B: ant"),
        ("shows nothing", "A: nothing", "B: <b>甲</b>"),
    ]


# ── how they were made ──────────────────────────────────────────────────────────────────────────────


def test_only_settings_that_differ_are_shown(tmp_path: Path) -> None:
    pictures = draw(tmp_path / "pictures", 12)
    runs = [
        insects(tmp_path / "a", pictures=pictures, options={"seed": 1, "out": tmp_path / "x"}),
        insects(tmp_path / "b", pictures=pictures, options={"seed": 2, "image_size": 64}, backbone="large"),
    ]
    options, made, versions = tables(facts.settings(compared(*runs)))

    assert options.rows == (("image_size", "not set", "64"), ("seed", "1", "2"))
    assert made.rows == (("network", "tiny", "large"),)
    assert versions.rows == (("plugin for backbone", "tiny 1.0", "large 1.0"),)


def test_runs_of_the_same_settings_are_said_to_be_so(tmp_path: Path) -> None:
    found = compared(*(insects(tmp_path / name, options={"out": tmp_path / name}) for name in "ab"))
    assert texts(facts.settings(found)) == ["Options, data, weights, versions and plugins are the same in all runs."]
    assert tables(facts.settings(found)) == []


def test_curves_are_drawn_for_light_and_dark_and_runs_without_epochs_are_named(tmp_path: Path) -> None:
    runs = [insects(tmp_path / name, epochs=epochs) for name, epochs in (("a", 3), ("b", 0), ("c", 1))]
    without, figure = facts.curves(compared(*runs))

    assert without == Paragraph("Without epochs, and so without a curve: run B.")
    assert isinstance(figure, Figure)
    assert figure.png.startswith(PNG)
    assert figure.dark_png.startswith(PNG)
    assert figure.alt == "Validation loss over the epochs: run A ends after 3 at 0.5, run C ends after 1 at 1.5."
    assert list(facts.curves(compared(runs[1], Path(shutil.copytree(runs[1], tmp_path / "d"))))) == [
        Paragraph("Without epochs, and so without a curve: run A, B.")
    ]


def test_runs_that_chose_by_other_metrics_share_the_losses_alone(tmp_path: Path) -> None:
    runs = [insects(tmp_path / "a"), insects(tmp_path / "b", monitor="log-loss")]
    assert texts(facts.curves(compared(*runs))) == [
        "The runs chose their epochs by other metrics each, so that only their losses are drawn."
    ]


def test_ten_curves_have_ten_markers_and_a_metric_may_be_called_anything() -> None:
    assert len(set(MARKERS)) == len(LETTERS)
    assert len(LINES) * 5 == len(LETTERS)
    empty = np.full(2, np.nan)
    curves = [Curve(letter=letter, losses=np.arange(3.0), scores=empty) for letter in LETTERS]
    assert compared_curves(curves, "$x_$ 甲" * 20, is_share=True).light.startswith(PNG)
    with pytest.raises(ValueError, match="finite"):
        compared_curves([Curve(letter="A", losses=empty, scores=empty)], "", is_share=False)


def test_calibration_time_size_and_proofs_are_side_by_side(tmp_path: Path) -> None:
    runs = [insects(tmp_path / "a"), insects(tmp_path / "b", seconds={"svm": 2.0, "total": 9.0})]
    found = compared(*runs)
    (confidence,) = tables(facts.calibration(found))
    seconds, sizes, speeds = tables(facts.cost(found))
    (proofs,) = tables(facts.verification(found))

    assert confidence.rows[0] == ("temperature", "1.250", "1.250")
    assert seconds.rows == (("prepare", "1.0", "–"), ("svm", "–", "2.0"), ("total", "3.0", "9.0"))
    assert sizes.rows == (("onnx", "0.0", "0.0"),)
    assert speeds.rows == (("onnx", "41.7", "41.7"),)
    assert [row[0] for row in proofs.rows] == ["A", "B"]
    (runs[1] / "model.onnx").unlink()
    assert tables(facts.cost(found))[1].rows == (("onnx", "0.0", "gone"),)


# ── the page ────────────────────────────────────────────────────────────────────────────────────────


def test_the_page_is_beside_the_first_run_and_shows_strange_names_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    name = "نملة <script>alert(1)</script>".replace("/", "∕")
    runs = [insects(tmp_path / name, wrong=[0]), insects(tmp_path / "x" / "b")]

    path, comparison = make_comparison(runs, pytest.fail)
    html = path.read_text(encoding="utf-8")

    assert path == tmp_path / "comparison.html"
    assert [run.name for run in comparison.runs] == [name, "b"]
    assert "نملة &lt;script&gt;alert(1)" in html
    assert "<script>alert" not in html
    assert html.count("<h2") == 10


def test_the_page_of_a_cross_validation_is_in_its_folder(tmp_path: Path) -> None:
    pictures = draw(tmp_path / "pictures", 12)
    parts = zip((1, 2), (pictures[:6], pictures[6:]), strict=True)
    folds = [insects(tmp_path / "crossed" / f"fold-{number}", pictures=part) for number, part in parts]
    crossed = cross_validation(tmp_path / "crossed", folds)

    assert make_comparison([crossed], pytest.fail).path == crossed / "comparison.html"


def test_damage_that_one_section_meets_leaves_a_word_in_its_place(tmp_path: Path) -> None:
    runs = [insects(tmp_path / name) for name in "ab"]
    (runs[1] / "metrics.json").write_text('{"valid": {"coverage": null}, "test": null}')
    said: list[str] = []

    path, _ = make_comparison(runs, said.append)

    assert said == [
        f"The comparison goes without the section '{title}'. A run's records are damaged: '{missing}'"
        for title, missing in (("Classes", "labels"), ("Scores", "values"))
    ]
    assert path.read_text(encoding="utf-8").count("records are damaged") == 2


def test_a_page_is_not_written_over_what_is_none(tmp_path: Path) -> None:
    runs = [insects(tmp_path / name) for name in "ab"]
    with pytest.raises(ConfigError, match=r"model.onnx is no name of a page; let it end in .html or .htm."):
        make_comparison(runs, pytest.fail, out=runs[0] / "model.onnx")
    with pytest.raises(ResourceError, match=r"Cannot write .*none.*Choose another folder with --out"):
        make_comparison(runs, pytest.fail, out=tmp_path / "none" / "page.html")


def test_a_comparison_takes_the_place_of_another_and_of_nothing_else(tmp_path: Path) -> None:
    runs, page = [insects(tmp_path / name) for name in "ab"], tmp_path / "thesis.html"
    page.write_text("<title>Comparison of all runs</title>")
    (tmp_path / "comparison.html").write_text("")

    for path, out in ((page, page), (tmp_path / "comparison.html", None)):
        with pytest.raises(ConfigError) as raised:
            make_comparison(runs, pytest.fail, out=out)
        assert (
            str(raised.value) == f"{path} is no comparison of runs, and stays as it is. Name another page with --out."
        )
    assert page.read_text() == "<title>Comparison of all runs</title>"
    page.unlink()
    made = make_comparison(runs, pytest.fail, out=page).path.read_bytes()
    page.write_bytes(made.replace(b"accuracy", b"shots"))
    assert make_comparison(runs, pytest.fail, out=page).path.read_bytes() == made


def test_labels_are_never_markup(tmp_path: Path) -> None:
    path, _ = make_comparison([insects(tmp_path / "a", wrong=[2]), insects(tmp_path / "b")], pytest.fail)
    html = path.read_text(encoding="utf-8")
    assert LABELS[2] not in html
    assert "&lt;b&gt;甲&lt;/b&gt;" in html
