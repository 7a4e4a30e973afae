"""A configuration in TOML: what is read, what is refused with its file and key, and what comes back as it was."""

from __future__ import annotations

import dataclasses
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.config import (
    Augmentation,
    Averaging,
    CalibrationMethod,
    Head,
    Imbalance,
    Mixing,
    Optimizer,
    Precision,
    RunConfig,
    RunOptions,
    Schedule,
    Strategy,
    TaskOption,
    Tracker,
    read_file,
    resolve,
    to_toml,
)
from finetune.errors import ConfigError


def options(**said: Any) -> RunOptions:
    return cast(RunOptions, said)


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """Write a configuration file into a folder of its own."""

    def written(content: str | bytes) -> Path:
        path = tmp_path / "settings" / "run.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return written


def refusal(call: Callable[..., object], *arguments: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    assert caught.value.exit_code == 2
    return str(caught.value)


EPOCHS = "a whole number from 0 to 10000"
LR = "between 1e-10 and 10, or 'find'"


# ── the file ────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_says_what_it_says_and_no_more(toml: Callable[..., Path]) -> None:
    path = toml('backbone = "resnet18"\nlr = "find"\nepochs = 2\nvalid_share = 0.5\ntarget = ["int8", "web"]\n')

    assert read_file(path) == {
        "backbone": "resnet18",
        "lr": "find",
        "epochs": 2,
        "valid_share": 0.5,
        "target": ("int8", "web"),
    }


def test_an_empty_file_says_nothing(toml: Callable[..., Path]) -> None:
    assert read_file(toml("")) == {}


def test_relative_paths_are_relative_to_the_file(toml: Callable[..., Path]) -> None:
    path = toml('data = "pictures"\nsplit = "split.csv"\nout = "../runs"\nweights = "body.pth"')

    assert read_file(path) == {
        "data": path.parent / "pictures",
        "split": path.parent / "split.csv",
        "out": path.parent / "../runs",
        "weights": str(path.parent / "body.pth"),
    }


def test_absolute_paths_stay_as_they_are(toml: Callable[..., Path]) -> None:
    assert read_file(toml('data = "/pictures"\nweights = "/body.pth"')) == {
        "data": Path("/pictures"),
        "weights": "/body.pth",
    }


@pytest.mark.parametrize("word", ["pretrained", "none"])
def test_the_words_for_weights_are_no_paths(toml: Callable[..., Path], word: str) -> None:
    assert read_file(toml(f'weights = "{word}"')) == {"weights": word}


def test_an_unknown_key_is_refused_with_the_file_and_the_nearest_name(toml: Callable[..., Path]) -> None:
    path = toml('bakbone = "resnet18"')

    assert refusal(read_file, path).startswith(f"{path}: Unknown option 'bakbone'. Did you mean 'backbone'? Known: ")


def test_a_table_is_an_unknown_key(toml: Callable[..., Path]) -> None:
    assert "Unknown option 'train'." in refusal(read_file, toml("[train]\nepochs = 3"))


@pytest.mark.parametrize(
    ("line", "shown", "allowed"),
    [
        ("epochs = true", "True", EPOCHS),
        ("epochs = 3.0", "3.0", EPOCHS),
        ('epochs = "3"', "'3'", EPOCHS),
        ("epochs = [3]", "[3]", EPOCHS),
        ("epochs = -1", "-1", EPOCHS),
        ("lr = nan", "nan", LR),
        ("lr = inf", "inf", LR),
        ("lr = {start = 1}", "{'start': 1}", LR),
        ("seed = 2024-01-02", "datetime.date(2024, 1, 2)", "a whole number from 0 to 4294967295"),
        ("backbone = 18", "18", "text that is not empty"),
        ("backbone = 2024-01-02", "datetime.date(2024, 1, 2)", "text that is not empty"),
        ('backbone = ""', "''", "text that is not empty"),
        ("data = true", "True", "the path of a folder or a table"),
        ('data = ""', "''", "the path of a folder or a table"),
        (r'out = "a\u0000b"', r"'a\x00b'", "the path of a folder"),
        ('target = "int8"', "'int8'", "a list of names"),
        ("target = [1]", "[1]", "a list of names"),
        ('label_col = "breed"', "'breed'", "a list of columns"),
        ('track = ["nothing"]', "['nothing']", "a list of tensorboard, wandb, mlflow"),
        ("skip_missing = 1", "1", "true or false"),
        ('group_pattern = "("', "'('", "a regular expression"),
    ],
)
def test_a_wrong_type_or_value_is_refused_with_the_key(
    toml: Callable[..., Path], line: str, shown: str, allowed: str
) -> None:
    path, key = toml(line), line.partition(" ")[0]

    assert refusal(read_file, path) == f"{path}: {key} = {shown} is not allowed; give {allowed}."


def test_all_problems_of_a_file_are_told_at_once(toml: Callable[..., Path]) -> None:
    text = refusal(read_file, toml("epoch = 1\nseed = -1\nlr = nan"))

    assert "'epochs'" in text
    assert "seed = -1" in text
    assert "lr = nan" in text


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no.toml"

    assert refusal(read_file, path) == (
        f"Cannot read the configuration file {path}: No such file or directory. Check --config."
    )


def test_a_folder_is_no_configuration_file(tmp_path: Path) -> None:
    assert "Is a directory" in refusal(read_file, tmp_path)


def test_a_path_that_no_file_can_have_is_refused() -> None:
    assert "null byte" in refusal(read_file, Path("a\0b"))


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"], ids=["UTF-8", "UTF-16 LE", "UTF-16 BE"])
def test_a_byte_order_mark_is_named_as_the_trouble(toml: Callable[..., Path], mark: bytes) -> None:
    path = toml(mark + b"epochs = 3")

    assert refusal(read_file, path) == f"{path} begins with a byte order mark; save it as plain UTF-8, without one."


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\x01\x02\xff\xfe",
        "epochs = 3".encode("utf-16-le"),
        'backbone = "K\u00e4fer"'.encode("latin-1"),
        b"epochs = 3\nepochs = 4",
        b"epochs",
        b"epochs = " + b"9" * 5_000,
        b"target = " + b"[" * 50_000,
    ],
    ids=["binary", "UTF-16 without mark", "Latin-1", "duplicate key", "no value", "endless number", "deep nest"],
)
def test_a_file_that_is_no_toml_is_refused_by_name(toml: Callable[..., Path], content: bytes) -> None:
    path = toml(content)

    assert refusal(read_file, path).startswith(f"{path} is not a UTF-8 TOML file: ")


def test_a_syntax_error_is_told_with_its_line(toml: Callable[..., Path]) -> None:
    assert "line 2" in refusal(read_file, toml("epochs = 3\nlr = ?"))


def test_a_huge_file_is_refused_unread(toml: Callable[..., Path]) -> None:
    assert "is larger than a configuration file's 1048576 bytes" in refusal(read_file, toml(b"#" * (2**20 + 1)))


# ── out and back in ─────────────────────────────────────────────────────────────────────────────────

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
PATHS = TEXT.map(Path)
RATES = st.floats(1e-10, 10)
CONFIG_FACTS: dict[str, st.SearchStrategy[Any]] = {
    "plugin": st.none() | TEXT,
    "data": st.none() | PATHS,
    "source": st.none() | TEXT,
    "recipe": st.none() | TEXT,
    "name": st.none() | TEXT,
    "task": st.sampled_from(get_args(TaskOption)),
    "image_col": st.none() | TEXT,
    "label_col": st.lists(TEXT, max_size=3).map(tuple),
    "label_separator": st.none() | TEXT,
    "split_col": st.none() | TEXT,
    "group_col": st.none() | TEXT,
    "group_pattern": st.none() | TEXT.map(re.escape),
    "skip_missing": st.booleans(),
    "test_share": st.floats(0, 0.9),
    "split": st.none() | PATHS,
    "folds": st.none() | st.integers(2, 100),
    "fold": st.none() | st.integers(1, 100),
    "augment": st.sampled_from(get_args(Augmentation)),
    "mix": st.sampled_from(get_args(Mixing)),
    "imbalance": st.sampled_from(get_args(Imbalance)),
    "label_smoothing": st.floats(0, 0.9),
    "monitor": st.none() | TEXT,
    "patience": st.none() | st.integers(1, 10_000),
    "average": st.sampled_from(get_args(Averaging)),
    "calibration": st.sampled_from(get_args(CalibrationMethod)),
    "abstain_at": st.none() | st.floats(0.01, 1),
    "max_minutes": st.none() | st.floats(0.1, 1e6),
    "checkpoint_seconds": st.floats(0, 1e6),
    "track": st.lists(st.sampled_from(get_args(Tracker)), max_size=3).map(tuple),
    "backbone": TEXT,
    "strategy": st.sampled_from(get_args(Strategy)),
    "head": st.sampled_from(get_args(Head)),
    "layer": st.none() | TEXT,
    "views": st.integers(1, 64),
    "rate_span": st.floats(1, 1e6),
    "optimizer": st.sampled_from(get_args(Optimizer)),
    "momentum": st.floats(0, 0.9999),
    "weight_decay": st.floats(0, 1),
    "schedule": st.sampled_from(get_args(Schedule)),
    "step_epochs": st.integers(1, 10_000),
    "gamma": st.floats(1e-6, 1),
    "precision": st.sampled_from(get_args(Precision)),
    "cache_gb": st.floats(0, 10_000),
    "crop_fraction": st.none() | st.floats(0.1, 1),
    "weights": st.sampled_from(["pretrained", "none"]) | TEXT.map(lambda text: str(Path("/weights") / text)),
    "epochs": st.integers(0, 10_000),
    "freeze_epochs": st.integers(0, 10_000),
    "lr": RATES | st.integers(1, 10) | st.just("find"),
    "unfreeze": st.none() | st.integers(1, 1_000),
    "unfrozen_lr": st.none() | RATES,
    "image_size": st.none() | st.integers(16, 4_096),
    "batch_size": st.integers(2, 65_536),
    "valid_share": st.floats(0.01, 0.9),
    "max_unreadable": st.floats(0, 1),
    "target": st.lists(TEXT, max_size=3).map(tuple),
    "callback": st.lists(TEXT, max_size=3).map(tuple),
    "metric": st.lists(TEXT, max_size=3).map(tuple),
    "max_drop": st.floats(0, 1),
    "seed": st.integers(0, 2**32 - 1),
    "out": PATHS,
}
CONFIGS = st.builds(RunConfig, **CONFIG_FACTS)


def test_every_option_is_written_and_read() -> None:
    assert set(CONFIG_FACTS) == {field.name for field in dataclasses.fields(RunConfig)}


@given(CONFIGS)
def test_a_configuration_written_and_read_from_elsewhere_is_the_same_run(config: RunConfig) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.toml"
        path.write_text(to_toml(config), encoding="utf-8", newline="")
        repeated = resolve(read_file(path))

    here = Path.cwd()
    paths = {name: getattr(config, name) for name in ("data", "split", "out")}
    assert repeated == dataclasses.replace(config, **{n: path and here / path for n, path in paths.items()})


def test_a_relative_weight_file_is_written_with_its_whole_path() -> None:
    assert f'weights = "{Path.cwd()}/body.pth"' in to_toml(RunConfig(weights="body.pth"))


def test_a_file_says_what_repeats_the_run_beside_it() -> None:
    first, _ = to_toml(RunConfig(), "pretrain", ("--licence", "my own")).split("\n", 1)

    assert first.endswith(": finetune pretrain --config THIS_FILE --licence 'my own'")


@pytest.mark.parametrize("command", ["run", "pretrain"])
def test_a_file_says_which_command_repeats_it(command: str) -> None:
    assert (
        to_toml(RunConfig(), command).splitlines()[0].endswith(f"repeat it with: finetune {command} --config THIS_FILE")
    )
