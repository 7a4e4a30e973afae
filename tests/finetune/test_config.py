from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast, get_type_hints

import pytest
from cyclopts import Parameter
from hypothesis import given
from hypothesis import strategies as st

from finetune.config import RunConfig, RunOptions, flag, read_file, resolve, to_toml
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


# ── the options ─────────────────────────────────────────────────────────────────────────────────────


def test_options_and_configuration_have_the_same_names_in_the_same_order() -> None:
    assert list(RunOptions.__annotations__) == [field.name for field in dataclasses.fields(RunConfig)]


@pytest.mark.parametrize("name", RunOptions.__annotations__)
def test_every_option_has_a_help_text(name: str) -> None:
    (parameter,) = get_type_hints(RunOptions, include_extras=True)[name].__metadata__

    assert isinstance(parameter, Parameter)
    assert parameter.help
    assert parameter.help[0].isupper() or parameter.help[0] == "'"


@pytest.mark.parametrize("field", dataclasses.fields(RunConfig), ids=lambda field: field.name)
def test_a_help_text_states_the_default_that_the_configuration_has(field: dataclasses.Field[object]) -> None:
    (parameter,) = get_type_hints(RunOptions, include_extras=True)[field.name].__metadata__

    if field.default is not None and field.default != ():
        assert parameter.help.endswith(f"[default: {field.default}]")


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


def test_a_script_may_give_the_targets_as_a_list() -> None:
    assert resolve(options(target=["int8"])).target == ("int8",)


@pytest.mark.parametrize("name", ["plugin", "data", "source", "unfreeze", "unfrozen_lr", "image_size"])
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
    *(("image_size", value, "a whole number of pixels from 16 to 4096") for value in (15, 4_097, 224.0)),
    *(("batch_size", value, "a whole number from 2 to 65536") for value in (1, 65_537)),
    *(("valid_share", value, "between 0.01 and 0.9") for value in (0.0, 0.91, 1, NAN)),
    *(("max_unreadable", value, "between 0 and 1") for value in (-0.01, 1.01, INF)),
    *(("seed", value, "a whole number from 0 to 4294967295") for value in (-1, 2**32, "42")),
    *(("backbone", value, "text that is not empty") for value in ("", 18, None, "a\0b", "\udcff")),
    *(("weights", value, "text that is not empty") for value in ("", False)),
    *(("plugin", value, "text that is not empty") for value in ("", 3)),
    *(("source", value, "text that is not empty") for value in ("", 3)),
    *(("data", value, "the path of a folder") for value in ("", 3, "a\0b")),
    *(("out", value, "the path of a folder") for value in ("", None, "\udcff")),
    *(("target", value, "a list of names") for value in ("onnx", ("",), (1,), None)),
]


@pytest.mark.parametrize(("name", "value", "allowed"), REFUSED)
def test_a_value_that_is_not_allowed_is_refused_with_what_is(name: str, value: object, allowed: str) -> None:
    assert refusal(resolve, options(**{name: value})) == f"{flag(name)} {value!r} is not allowed; give {allowed}."


ALLOWED: list[tuple[str, object]] = [
    *(("epochs", value) for value in (0, 10_000)),
    *(("lr", value) for value in (1e-10, 10, 1, "find")),
    *(("unfreeze", value) for value in (1, 1_000)),
    *(("image_size", value) for value in (16, 4_096)),
    *(("batch_size", value) for value in (2, 65_536)),
    *(("valid_share", value) for value in (0.01, 0.9)),
    *(("max_unreadable", value) for value in (0, 1)),
    *(("seed", value) for value in (0, 2**32 - 1)),
]


@pytest.mark.parametrize(("name", "value"), ALLOWED)
def test_the_ends_of_a_range_are_allowed(name: str, value: object) -> None:
    assert getattr(resolve(options(**{name: value})), name) == value


def test_all_problems_are_told_at_once() -> None:
    text = refusal(resolve, options(epochs=-1, lr="fast"), options(seed=-1))

    assert text == (
        f"--epochs -1 is not allowed; give {EPOCHS}. --lr 'fast' is not allowed; give {LR}. "
        "--seed -1 is not allowed; give a whole number from 0 to 4294967295."
    )


def test_an_unknown_option_is_refused_with_the_nearest_name() -> None:
    assert refusal(resolve, options(epoch=3)).startswith("Unknown option 'epoch'. Did you mean 'epochs'? Known: ")


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
    path = toml('data = "pictures"\nout = "../runs"\nweights = "body.pth"')

    assert read_file(path) == {
        "data": path.parent / "pictures",
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
        ("data = true", "True", "the path of a folder"),
        ('data = ""', "''", "the path of a folder"),
        (r'out = "a\u0000b"', r"'a\x00b'", "the path of a folder"),
        ('target = "int8"', "'int8'", "a list of names"),
        ("target = [1]", "(1,)", "a list of names"),
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
CONFIGS = st.builds(
    RunConfig,
    plugin=st.none() | TEXT,
    data=st.none() | PATHS,
    source=st.none() | TEXT,
    backbone=TEXT,
    weights=st.sampled_from(["pretrained", "none"]) | TEXT.map(lambda text: str(Path("/weights") / text)),
    epochs=st.integers(0, 10_000),
    freeze_epochs=st.integers(0, 10_000),
    lr=RATES | st.integers(1, 10) | st.just("find"),
    unfreeze=st.none() | st.integers(1, 1_000),
    unfrozen_lr=st.none() | RATES,
    image_size=st.none() | st.integers(16, 4_096),
    batch_size=st.integers(2, 65_536),
    valid_share=st.floats(0.01, 0.9),
    max_unreadable=st.floats(0, 1),
    target=st.lists(TEXT, max_size=3).map(tuple),
    seed=st.integers(0, 2**32 - 1),
    out=PATHS,
)


@given(CONFIGS)
def test_a_configuration_written_and_read_from_elsewhere_is_the_same_run(config: RunConfig) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.toml"
        path.write_text(to_toml(config), encoding="utf-8", newline="")
        repeated = resolve(read_file(path))

    here = Path.cwd()
    assert repeated == dataclasses.replace(config, data=config.data and here / config.data, out=here / config.out)


def test_a_relative_weight_file_is_written_with_its_whole_path() -> None:
    assert f'weights = "{Path.cwd()}/body.pth"' in to_toml(RunConfig(weights="body.pth"))
