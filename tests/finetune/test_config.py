"""What one may say about a run: names, values, and which of several speakers is heard."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

import pytest
from cyclopts import Parameter

from finetune.config import (
    FROM_SCRATCH,
    PRETRAINING,
    Augmentation,
    Averaging,
    Head,
    Imbalance,
    Mixing,
    Optimizer,
    Precision,
    PretrainOptions,
    RunConfig,
    RunOptions,
    Schedule,
    Strategy,
    TaskOption,
    flag,
    resolve,
)
from finetune.errors import ConfigError


def options(**said: Any) -> RunOptions:
    return cast(RunOptions, said)


def refusal(call: Callable[..., object], *arguments: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    assert caught.value.exit_code == 2
    return str(caught.value)


# ── the options ─────────────────────────────────────────────────────────────────────────────────────


def parameters(of: type[Any] = RunOptions) -> dict[str, Parameter]:
    return {name: hint.__metadata__[0] for name, hint in get_type_hints(of, include_extras=True).items()}


def test_options_and_configuration_have_the_same_names() -> None:
    assert sorted(RunOptions.__annotations__) == sorted(field.name for field in dataclasses.fields(RunConfig))


@pytest.mark.parametrize("of", [RunOptions, PretrainOptions])
def test_every_option_has_a_help_text(of: type[Any]) -> None:
    for parameter in parameters(of).values():
        assert isinstance(parameter, Parameter)
        assert parameter.help
        assert parameter.help[0].isupper() or parameter.help[0] == "'"


@pytest.mark.parametrize("field", dataclasses.fields(RunConfig), ids=lambda field: field.name)
def test_a_help_text_states_the_default_that_the_configuration_has(field: dataclasses.Field[object]) -> None:
    if field.default not in (None, (), False):
        assert str(parameters()[field.name].help).endswith(f"[default: {field.default}]")


@pytest.mark.parametrize("name", PretrainOptions.__annotations__)
def test_a_help_text_states_the_default_that_a_pretraining_has(name: str) -> None:
    default = resolve(cast(RunOptions, PRETRAINING)).__getattribute__(name)

    if default not in (None, (), False):
        assert str(parameters(PretrainOptions)[name].help).endswith(f"[default: {default}]")


def test_a_pretraining_has_the_options_of_a_run_but_those_of_transferring_and_exporting() -> None:
    left_out = set(RunOptions.__annotations__) - set(PretrainOptions.__annotations__)

    assert left_out == {
        *("folds", "fold", "weights", "layer", "strategy", "freeze_epochs", "views", "unfreeze", "unfrozen_lr"),
        *("rate_span", "cache_gb", "calibration", "abstain_at", "target", "max_drop"),
    }
    assert set(FROM_SCRATCH) == left_out
    assert set(PRETRAINING) <= set(PretrainOptions.__annotations__)


def test_options_that_only_a_run_has_are_in_groups_of_their_own_but_for_the_split_and_the_choice() -> None:
    groups = {name: str(parameter.group[0].name) for name, parameter in parameters().items()}  # type: ignore[index, union-attr]
    shared = {groups[name] for name in PretrainOptions.__annotations__}
    own = {groups[name] for name in groups if name not in PretrainOptions.__annotations__}

    assert own - shared == {"Transfer", "Export"}
    assert own & shared == {"Split", "Choice of the best, and what it answers"}


def test_a_flag_is_typed_with_hyphens() -> None:
    assert flag("freeze_epochs") == "--freeze-epochs"


# ── layers ──────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_said_is_the_defaults() -> None:
    assert resolve() == RunConfig()


def test_later_layers_win_over_earlier_ones() -> None:
    recipe, file, flags = options(epochs=1, lr=0.1, seed=1), options(lr=0.2, seed=2), options(seed=3)

    config = resolve(recipe, file, flags)

    assert (config.epochs, config.lr, config.seed, config.batch_size) == (1, 0.2, 3, RunConfig.batch_size)


def test_resolving_changes_no_layer() -> None:
    recipe = options(epochs=1)

    resolve(recipe, options(epochs=2))

    assert recipe == {"epochs": 1}


def test_a_bad_value_that_a_later_layer_replaces_does_no_harm() -> None:
    assert resolve(options(epochs=-1), options(epochs=2)).epochs == 2


def test_a_script_may_give_a_path_as_text() -> None:
    assert resolve(options(data="pictures", out="here")).data == Path("pictures")
    assert resolve(options(data="pictures", out="here")).out == Path("here")


def test_a_script_may_give_several_values_as_a_list() -> None:
    config = resolve(options(target=["int8"], label_col=["cat", "dog"], track=["mlflow"], callback=["x"]))

    assert (config.target, config.label_col, config.track) == (("int8",), ("cat", "dog"), ("mlflow",))
    assert config.callback == ("x",)


@pytest.mark.parametrize(
    "name",
    ["plugin", "data", "source", "recipe", "layer", "unfreeze", "unfrozen_lr", "image_size", "crop_fraction"],
)
def test_none_leaves_an_option_without_default_open(name: str) -> None:
    assert getattr(resolve(options(**{name: None})), name) is None


# ── values ──────────────────────────────────────────────────────────────────────────────────────────

NAN, INF = float("nan"), float("inf")
EPOCHS = "a whole number from 0 to 10000"
LR = "between 1e-10 and 10, or 'find'"
REFUSED: list[tuple[str, object, str]] = [
    *(("epochs", value, EPOCHS) for value in (-1, 10_001, 1.0, True, "3", None, NAN, 10**400)),
    *(("freeze_epochs", value, EPOCHS) for value in (-1, 10_001, 0.5)),
    *(("lr", value, LR) for value in (0, -0.1, 10.5, NAN, INF, -INF, "fast", True, None)),
    *(("unfreeze", value, "a whole number of stages, at least 1") for value in (0, 1_001, 1.5)),
    *(("unfrozen_lr", value, "between 1e-10 and 10") for value in (0, 11, "find", NAN)),
    *(("views", value, "a whole number from 1 to 64") for value in (0, 65, 1.5, NAN)),
    *(("label_smoothing", value, "between 0 and 0.9") for value in (-0.1, 0.91, 1, True, NAN)),
    *(("rate_span", value, "between 1 and 1e6") for value in (0.5, 2e6, INF, NAN)),
    *(("momentum", value, "between 0 and 0.9999") for value in (-0.1, 1, NAN, "0.9")),
    *(("weight_decay", value, "between 0 and 1") for value in (-1e-9, 1.1, NAN)),
    *(("step_epochs", value, "a whole number from 1 to 10000") for value in (0, 10_001, 7.0)),
    *(("gamma", value, "between 1e-6 and 1") for value in (0, 1.1, NAN)),
    *(("cache_gb", value, "a number of gigabytes from 0 to 10000") for value in (-1, 10_001, INF, NAN, "4")),
    *(("crop_fraction", value, "between 0.1 and 1") for value in (0, 0.09, 1.01, NAN)),
    *(("image_size", value, "a whole number of pixels from 16 to 4096") for value in (15, 4_097, 224.0)),
    *(("batch_size", value, "a whole number from 2 to 65536") for value in (1, 65_537)),
    *(("valid_share", value, "between 0.01 and 0.9") for value in (0.0, 0.91, 1, NAN)),
    *(("max_unreadable", value, "between 0 and 1") for value in (-0.01, 1.01, INF)),
    *(("seed", value, "a whole number from 0 to 4294967295") for value in (-1, 2**32, "42")),
    *(("backbone", value, "text that is not empty") for value in ("", 18, None, "a\0b", "\udcff")),
    *(("weights", value, "text that is not empty") for value in ("", False)),
    *(("plugin", value, "text that is not empty") for value in ("", 3)),
    *(("source", value, "text that is not empty") for value in ("", 3)),
    *(("recipe", value, "text that is not empty") for value in ("", 3)),
    *(("layer", value, "text that is not empty") for value in ("", 3)),
    *(("strategy", value, f"one of {', '.join(get_args(Strategy))}") for value in ("", 3, None, ["probe"], "a\0")),
    *(("head", value, "one of linear, fastai") for value in ("", True, None)),
    *(("optimizer", value, "one of SGD, Adam, AdamW, RMSprop, Adagrad") for value in ("", 1)),
    *(("schedule", value, "one of OneCycleLR, CosineAnnealingLR, StepLR") for value in ("", 1)),
    *(("precision", value, "one of auto, bf16, fp32") for value in ("", 16, None)),
    *(("task", value, f"one of {', '.join(get_args(TaskOption))}") for value in ("", 1, None)),
    *(("augment", value, f"one of {', '.join(get_args(Augmentation))}") for value in ("", 1, None)),
    *(("mix", value, "one of none, mixup, cutmix") for value in ("", True, None)),
    *(("imbalance", value, "one of none, weights, sampling, focal") for value in ("", 1, None)),
    *(("average", value, "one of none, ema, soup, both") for value in ("", 1, None)),
    *(("calibration", value, "one of temperature, none") for value in ("", False, None)),
    *(("test_share", value, "between 0 and 0.9") for value in (-0.1, 0.91, 1, NAN, None)),
    *(("folds", value, "a whole number from 2 to 100") for value in (1, 101, 2.0, True)),
    *(("fold", value, "a whole number from 1 to the number of --folds") for value in (0, 101, 1.0)),
    *(("patience", value, "a whole number of epochs, at least 1") for value in (0, 1.5, NAN)),
    *(("abstain_at", value, "a share between 0.01 and 1") for value in (0, 1.01, NAN, "0.9")),
    *(("max_minutes", value, "a number of minutes, at least 0.1") for value in (0, -1, INF, NAN)),
    *(("checkpoint_seconds", value, "a number of seconds from 0 to 1000000") for value in (-1, INF, NAN, None)),
    *(("skip_missing", value, "true or false") for value in (1, "yes", None)),
    *(("group_pattern", value, "a regular expression") for value in ("", "(", "[a", "a\0b", 3)),
    *(("label_col", value, "a list of columns") for value in ("breed", ("",), (1,), None)),
    *(("track", value, "a list of tensorboard, wandb, mlflow") for value in ("wandb", ("nothing",), (1,), None)),
    *(("split", value, "the path of a split.csv") for value in ("", 3, "a\0b")),
    *(("monitor", value, "text that is not empty") for value in ("", 3)),
    *(("data", value, "the path of a folder or a table") for value in ("", 3, "a\0b")),
    *(("out", value, "the path of a folder") for value in ("", None, "\udcff")),
    *(("target", value, "a list of names") for value in ("onnx", ("",), (1,), None)),
    *(("callback", value, "a list of names") for value in ("profile", ("",), (1,), None)),
]


@pytest.mark.parametrize(("name", "value", "allowed"), REFUSED)
def test_a_value_that_is_not_allowed_is_refused_with_what_is(name: str, value: object, allowed: str) -> None:
    shown = list(value) if isinstance(value, tuple) else value

    assert refusal(resolve, options(**{name: value})) == f"{flag(name)} {shown!r} is not allowed; give {allowed}."


ALLOWED: list[tuple[str, object]] = [
    *(("epochs", value) for value in (0, 10_000)),
    *(("lr", value) for value in (1e-10, 10, 1, "find")),
    *(("unfreeze", value) for value in (1, 1_000)),
    *(("views", value) for value in (1, 64)),
    *(("rate_span", value) for value in (1, 1e6)),
    *(("momentum", value) for value in (0, 0.9999)),
    *(("weight_decay", value) for value in (0, 1)),
    *(("step_epochs", value) for value in (1, 10_000)),
    *(("gamma", value) for value in (1e-6, 1)),
    *(("cache_gb", value) for value in (0, 10_000)),
    *(("crop_fraction", value) for value in (0.1, 1)),
    *(("strategy", value) for value in get_args(Strategy)),
    *(("head", value) for value in get_args(Head)),
    *(("optimizer", value) for value in get_args(Optimizer)),
    *(("schedule", value) for value in get_args(Schedule)),
    *(("precision", value) for value in get_args(Precision)),
    *(("task", value) for value in get_args(TaskOption)),
    *(("augment", value) for value in get_args(Augmentation)),
    *(("mix", value) for value in get_args(Mixing)),
    *(("imbalance", value) for value in get_args(Imbalance)),
    *(("average", value) for value in get_args(Averaging)),
    *(("test_share", value) for value in (0, 0.9)),
    *(("folds", value) for value in (2, 100)),
    *(("fold", value) for value in (1, 100)),
    *(("patience", value) for value in (1, 10_000)),
    *(("abstain_at", value) for value in (0.01, 1)),
    *(("max_minutes", value) for value in (0.1, 1e6)),
    *(("checkpoint_seconds", value) for value in (0, 1e6)),
    *(("image_size", value) for value in (16, 4_096)),
    *(("batch_size", value) for value in (2, 65_536)),
    *(("valid_share", value) for value in (0.01, 0.9)),
    *(("max_unreadable", value) for value in (0, 1)),
    *(("seed", value) for value in (0, 2**32 - 1)),
]


@pytest.mark.parametrize(("name", "value"), ALLOWED)
def test_the_ends_of_a_range_are_allowed(name: str, value: object) -> None:
    assert getattr(resolve(options(**{name: value})), name) == value


@pytest.mark.parametrize(
    ("name", "value", "nearest"),
    [
        ("strategy", "prob", "probe"),
        ("strategy", "SVM", "svm"),
        ("head", "lineal", "linear"),
        ("optimizer", "adamw", "AdamW"),
        ("schedule", "OneCycle", "OneCycleLR"),
        ("precision", "fp16", "bf16"),
        ("task", "multilabel", "multi-label"),
        ("augment", "trivialaugment", "trivial"),
        ("imbalance", "weight", "weights"),
    ],
)
def test_an_unknown_choice_is_refused_with_the_nearest_as_it_is_written(name: str, value: str, nearest: str) -> None:
    text = refusal(resolve, options(**{name: value}))

    assert text.startswith(f"Unknown {flag(name)} '{value}'. Did you mean '{nearest}'? Known: ")


@pytest.mark.parametrize("name", ["optimizer", "schedule"])
def test_what_is_named_after_torch_is_called_so_there(name: str) -> None:
    from torch import optim

    where, kind = (optim, Optimizer) if name == "optimizer" else (optim.lr_scheduler, Schedule)

    assert all(hasattr(where, choice) for choice in get_args(kind))


def test_all_problems_are_told_at_once() -> None:
    text = refusal(resolve, options(epochs=-1, lr="fast"), options(seed=-1))

    assert text == (
        f"--epochs -1 is not allowed; give {EPOCHS}. --lr 'fast' is not allowed; give {LR}. "
        "--seed -1 is not allowed; give a whole number from 0 to 4294967295."
    )


def test_an_unknown_option_is_refused_with_the_nearest_name() -> None:
    assert refusal(resolve, options(epoch=3)).startswith("Unknown option 'epoch'. Did you mean 'epochs'? Known: ")
