"""A finished run, opened as fastai's learner: its tables and pictures, and the answers of the exported file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from fastai.interpret import ClassificationInterpretation

from finetune import open_learner
from finetune.errors import ConfigError, DataError
from finetune_export import Predictor

matplotlib.use("Agg")  # fastai draws with pyplot, as notebooks do


@pytest.fixture(scope="module")
def learner(trained: Any) -> Any:
    return open_learner(trained.run)


def test_the_learner_answers_as_the_exported_file_does(trained: Any, learner: Any) -> None:
    answers, _ = learner.get_preds()

    assert np.abs(answers.numpy() - np.load(trained.run / "answers.npy")).max() < 1e-5


def test_the_learner_is_as_good_as_the_run_said(trained: Any, learner: Any) -> None:
    _, accuracy = learner.validate()

    assert accuracy == pytest.approx(trained.result.value)


def test_the_learner_predicts_another_picture_as_the_exported_file_does(trained: Any, learner: Any) -> None:
    picture = next((trained.pictures / "train").rglob("*.jpg"))

    label, _, probabilities = learner.predict(picture)

    (expected,) = Predictor(trained.model).predict([picture])
    assert (label, float(max(probabilities))) == (expected.label, pytest.approx(expected.probability, abs=1e-5))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # fastai's tensors in matplotlib
@pytest.mark.filterwarnings("ignore:Glyph .* missing:UserWarning")  # of which there may be no font
def test_fastai_shows_batches_results_and_losses(learner: Any) -> None:
    from matplotlib import pyplot

    learner.dls.show_batch(max_n=4)
    learner.show_results(max_n=4, shuffle=False)
    interpretation = ClassificationInterpretation.from_learner(learner)
    interpretation.plot_confusion_matrix()
    interpretation.plot_top_losses(2)
    drawn = [len(pyplot.figure(number).axes) for number in pyplot.get_fignums()]
    pyplot.close("all")

    assert drawn[:2] == [4, 4]
    assert interpretation.confusion_matrix().sum() == len(learner.dls.valid_ds)


def test_several_labels_and_values_are_answered_alike(trained_on_table: Any) -> None:
    answers, _ = open_learner(trained_on_table.run).get_preds()

    assert np.abs(answers.numpy() - np.load(trained_on_table.run / "answers.npy")).max() < 1e-4


def test_a_run_whose_pictures_are_gone_is_refused(trained: Any, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trained.run, copy)
    split = copy / "split.csv"
    split.write_text(split.read_text().replace(str(trained.pictures), "/nowhere"))

    with pytest.raises(DataError, match=r"48 of the 48 pictures of .*copy are gone, first /nowhere"):
        open_learner(copy)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is no run's folder: it has no run\.json"):
        open_learner(tmp_path)
