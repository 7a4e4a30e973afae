"""What callbacks promise: to take part in a training to its end, which then comes out the same every time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from finetune.testing.folders import new_folder
from finetune.testing.processes import ask
from finetune.testing.rules import Broken, NotChecked, Rule
from finetune.types import TrainingCallback

_LIMIT_S = 600.0


@dataclass(frozen=True)
class CallbackSubject:
    """A callback, and the plugin that offers it."""

    callback: TrainingCallback
    plugin: str

    @cached_property
    def trainings(self) -> list[dict[str, Any]]:
        """What came of two tiny trainings with it; raises ``Broken`` where they took the process with them."""
        folder = new_folder()
        told = ask(
            "finetune.testing.training",
            self.callback.name,
            str(folder),
            limit_s=_LIMIT_S,
            environment={"XDG_CACHE_HOME": str(folder / "cache"), "FINETUNE_PLUGINS": self.plugin},
        )
        if told.answer is None:
            last = (told.stderr.strip().splitlines() or [""])[-1]
            raise Broken(f"that {told.ending}{': ' * bool(last)}{last}")
        found: list[dict[str, Any]] = told.answer
        return found

    @property
    def whole(self) -> list[dict[str, Any]]:
        """The trainings; raises ``NotChecked`` where one did not come to its end."""
        if any(training["problem"] for training in self.trainings):
            raise NotChecked("a training with it did not end; see the rule 'takes-part'")
        return self.trainings


def _takes_part(subject: CallbackSubject) -> None:
    for training in subject.trainings:
        if training["problem"]:
            raise Broken(str(training["problem"]).rstrip("."))


def _trains_the_same_twice(subject: CallbackSubject) -> None:
    first, second = subject.whole
    if first["weights"] != second["weights"]:
        raise Broken(f"the weights {first['weights'][:16]}, and then {second['weights'][:16]}")


def _leaves_chance_alone(subject: CallbackSubject) -> None:
    if drew := subject.whole[0]["drew"]:
        raise Broken(f"that it draws or seeds them in {', '.join(drew)}")


_CALLBACK = "finetune.types.TrainingCallback"
_RULES = (
    ("takes-part", "a Callback of fastai's, with which a training comes to its end", _takes_part),
    ("trains-the-same-twice", "the same weights for the same seed", _trains_the_same_twice),
    ("leaves-chance-alone", "that the random numbers of others are left as they are", _leaves_chance_alone),
)
RULES = tuple(
    Rule(name=name, kind="callback", expects=expects, read=_CALLBACK, hold=hold) for name, expects, hold in _RULES
)
"""What every callback is held against."""
