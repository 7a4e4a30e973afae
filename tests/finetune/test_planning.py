"""The plan of a run is refused as the run itself would be, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetune.errors import ConfigError, DataError
from finetune.planning import dry_run

from .conftest import TINY


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"strategy": "logreg", "lr": "find"}, "--strategy logreg has no learning rate to find; leave out --lr find."),
        ({"strategy": "probe", "freeze_epochs": 0}, "Nothing would be trained; give --freeze-epochs at least 1."),
        ({"unfreeze": 9}, "--unfreeze 9 is not allowed; squeezenet1_1 has "),
    ],
)
def test_a_plan_of_steps_that_cannot_be_taken_is_refused(options: dict[str, Any], text: str, pictures: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        dry_run(data=pictures, **{**TINY, **options})

    assert str(refused.value).startswith(text)


def test_a_plan_of_all_folds_is_refused_for_any_of_them(late: tuple[Path, dict[str, Any]]) -> None:
    table, options = late

    with pytest.raises(DataError, match=r"^Fold 2 of 2: "):
        dry_run(data=table, **{**TINY, **options})


def test_a_plan_of_one_fold_is_about_that_one_alone(late: tuple[Path, dict[str, Any]]) -> None:
    table, options = late

    assert dry_run(data=table, fold=1, **{**TINY, **options}).pictures == (4, 4, 0)


def test_a_plan_of_all_folds_shows_the_first(pictures: Path) -> None:
    assert dry_run(data=pictures, folds=4, **TINY).pictures == (6, 2, 0)
