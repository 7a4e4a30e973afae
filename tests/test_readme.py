"""The README is run: its commands parse, its Python works, and its tables match what is there."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest

import finetune
from finetune import run_folder
from finetune.cli import OF_PLUGINS, OF_RUNS, make_app
from finetune.cli.commands import add
from finetune.config import RunConfig, Strategy
from finetune.intent import discover
from finetune.loading import load_dataset
from finetune.plugins import Candidate, Plugins, load_function, load_plugins
from finetune.reporting import SILENT
from finetune.types import DatasetRequest
from finetune_export import Predictor
from finetune_export import cli as runtime

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
OPTION = r"(?<![\w-])--[a-z][a-z-]*"
CHOICES = re.compile(r"\b[\w-]+(?:\|[\w-]+)+")
FORMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "finetune run --data pictures": ("single-label", ("ants", "bees")),
    "finetune run --data table.csv": ("single-label", ("ants", "bees")),
    '--label-separator "|"': ("multi-label", ("ants", "bees")),
    "--label-col sunny --label-col windy": ("multi-label", ("sunny", "windy")),
    "--task regression --label-col age": ("regression", ("age",)),
}
TABLE = """image,label,sunny,windy,age
pictures/ants/000.jpg,ants,1,0,4.5
pictures/ants/001.png,{both},0,1,3
pictures/bees/000.jpg,bees,1,1,2
"""
app = make_app()
for _command in load_plugins().commands.values():
    add(app, _command.name, load_function(_command.run, _command.name), _command.summary)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def shell_lines() -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line]


def inline() -> list[str]:
    """Return what stands in the text as code, every choice of ``a|b|c`` by itself."""
    text = re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE)
    spans = [" ".join(span.split()).replace("\\|", "|") for span in re.findall(r"`([^`]+)`", text)]
    return [
        span.replace(found[0], each)
        for span in spans
        for found in [CHOICES.search(span)]
        if found
        for each in found[0].split("|")
    ] + [span for span in spans if not CHOICES.search(span)]


def command_lines() -> list[str]:
    """Return all command lines of the README; options that stand alone are those of the command that has them."""
    verbs = [f"finetune {name}" for name in runtime.COMMANDS]
    spans = [span for span in inline() if re.match("finetune (?!COMMAND)", span) and span not in verbs]
    options = [span for span in inline() if re.match(r"--[a-z-]+ ", span)]
    alone = [f"finetune {'audit' if '--fix' in span else 'run'} {span}" for span in options]
    lines = [line for line in shell_lines() if line.startswith("finetune")]
    return sorted({re.sub(r"\b[NK]$", "3", line.replace(" …", "")) for line in (*lines, *spans, *alone)})


def test_the_first_screen_holds_the_two_commands() -> None:
    first_screen = "\n".join(README.splitlines()[:25])
    assert "make demo" in first_screen
    assert "make test" in first_screen


@pytest.mark.parametrize("line", [line for line in shell_lines() if line.startswith("make")])
def test_every_make_line_names_a_target(line: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{line.split()[1]}:", makefile, flags=re.MULTILINE)


@pytest.mark.parametrize("line", command_lines())
def test_every_command_line_parses(line: str) -> None:
    words = shlex.split(line)[1:]
    command, _, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    assert command.__module__.startswith(("finetune.cli", "finetune_hf.commands"))
    assert words[0] not in runtime.COMMANDS or runtime._parser("finetune", words).parse_args(words)


def test_every_option_exists(capsys: pytest.CaptureFixture[str]) -> None:
    commands = [[name] for name in app if not name.startswith("-")]
    for words in (*commands, *(["plugins", name] for name in OF_PLUGINS), *(["runs", name] for name in OF_RUNS)):
        with contextlib.suppress(SystemExit):
            app([*words, "--help"])
    known = set(re.findall(OPTION, capsys.readouterr().out))
    assert set(re.findall(OPTION, README)) - known == set()


def test_every_default_is_the_one_that_is_told() -> None:
    told = dict(re.findall(r"`--([a-z-]+)` \(([\d.]+)\)", README))
    assert set(told) >= {"checkpoint-seconds", "max-drop"}
    assert {name: float(value) for name, value in told.items()} == {
        name: getattr(RunConfig, name.replace("-", "_")) for name in told
    }


@pytest.mark.parametrize(
    ("option", "names"), [("--strategy", set(get_args(Strategy))), ("--target", set(load_plugins().targets) - {"onnx"})]
)
def test_every_strategy_and_target_is_in_its_table(option: str, names: set[str]) -> None:
    rows = README.split(f"| `{option}` |")[1].split("\n\n")[0].splitlines()[2:]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])} == names


@pytest.mark.parametrize("form", FORMS)
def test_data_is_taken_as_it_is(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture_folder: Callable[..., Path]
) -> None:
    assert form in inline()
    picture_folder(("ants", "bees"))
    (tmp_path / "table.csv").write_text(TABLE.format(both="ants|bees" if "|" in form else "ants"))
    monkeypatch.chdir(tmp_path)
    words = shlex.split(form if form.startswith("finetune") else f"finetune run --data table.csv {form}")
    _, bound, _ = app.parse_args(words[1:], exit_on_error=False, print_error=False)
    dataset = load_dataset(discover(bound.arguments["options"], None), SILENT)
    assert (dataset.task, dataset.labels) == FORMS[form]


def test_every_form_of_data_that_is_told_is_tried() -> None:
    table = README.split("| what you have | what to type |")[1].split("\n\n")[0].replace("\\|", "|")
    told = {span for span in re.findall(r"`([^`]+)`", table) if re.match(r"finetune|--\S+ ", span)}
    assert told - set(FORMS) == {"finetune run --plugin hf --data DIR", "--name user/set"}, "those, its own tests try"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture_folder: Callable[..., Path]) -> Path:
    """A working folder as the README has it, with a run that needs neither a download nor patience."""
    pictures = picture_folder(("ants", "bees"), count=5)
    (tmp_path / "photo.jpg").write_bytes((pictures / "ants" / "000.jpg").read_bytes())
    (tmp_path / "other.png").write_bytes((pictures / "bees" / "001.png").read_bytes())
    quick = partial(finetune.run, weights="none", image_size=32, batch_size=4)
    monkeypatch.setattr(finetune, "run", lambda **said: quick(**{**said, "epochs": 1}), raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_its_python_runs_and_its_table_of_files_is_what_a_run_leaves(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy, train = (block for block in blocks("python") if "hookimpl" not in block)
    trained: dict[str, Any] = {}
    exec(compile(train, "README", "exec"), trained)
    result = trained["result"]
    (here / "model.onnx").write_bytes(result.onnx.read_bytes())
    exec(compile(deploy, "README", "exec"), {})
    printed = capsys.readouterr().out
    assert str(result.onnx) in printed
    assert "photo.jpg" in printed
    table = README.split("## What a run leaves behind")[1].split("##")[0]
    first_column = "\n".join(row.split("|")[1] for row in table.splitlines() if "|" in row)
    named = set(re.findall(r"`([\w.]+\.\w+)`", first_column))
    left = {path.name for path in result.run.iterdir()}
    assert left <= named
    assert named - left <= {run_folder.RATE_CURVE, run_folder.LABEL_ERRORS}, "too few pictures, and no probe"
    assert set(Predictor(result.onnx).labels) == {"ants", "bees"}


def test_the_plugin_in_ten_lines_is_ten_lines_and_a_plugin(tmp_path: Path) -> None:
    (block,) = (block for block in blocks("python") if "hookimpl" in block)
    assert len([line for line in block.splitlines() if line.strip()]) <= 10
    module = ModuleType("finetune_pets")
    exec(compile(block, "README", "exec"), vars(module))
    found = Plugins([Candidate(name="pets", distribution="finetune-pets", version="1", load=lambda: module)])
    assert found.broken == []
    assert found.find_dataset("pets").sources[0].recipe["backbone"] == "resnet18"
    for name in ("cat_01.jpg", "dog_07.jpg"):
        (tmp_path / name).touch()
    request = DatasetRequest(source="disk", data=tmp_path, cache=tmp_path, reporter=SILENT)
    assert vars(module)["load"](request).labels == ("cat", "dog")


def test_the_number_of_backbones_is_right() -> None:
    (number,) = re.findall(r"All (\d+) classifiers of torchvision", README)
    assert len(load_plugins().backbones) >= int(number)


def test_every_exit_status_is_the_one_of_an_error_class() -> None:
    from finetune import errors

    kinds = "usage|data|model|plugin|machine|diverged"
    stated = {int(status) for status in re.findall(rf"(?:^|[\s,])(\d) (?:{kinds})", README)}
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    assert stated == {cls.exit_code for cls in classes} - {1}


def test_every_file_name_of_the_run_folder_is_in_the_readme() -> None:
    names = {value for name, value in vars(run_folder).items() if name.isupper() and isinstance(value, str)}
    assert {name for name in names if name not in README} == set()
