"""The command line: results on stdout, one line on stderr and the right exit status when something is wrong."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torchvision
from PIL import Image
from safetensors.torch import save_file

from finetune.cli import COMMANDS, main


def tiny(**changes: object) -> list[str]:
    """Return the flags of a run that takes seconds."""
    options = {"backbone": "squeezenet1_1", "weights": "none", "image_size": 32, "batch_size": 8, "epochs": 1} | changes
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]


@dataclass(frozen=True)
class Said:
    """What a command left on its exit: the status, and what it wrote."""

    status: int
    out: str
    err: str


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run a command in this process, in an empty folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    at_term = signal.getsignal(signal.SIGTERM)

    def said(*arguments: object) -> Said:
        with pytest.raises(SystemExit) as ending:
            main([str(argument) for argument in arguments])
        written = capsys.readouterr()
        return Said(int(ending.value.code or 0), written.out, written.err)

    yield said
    signal.signal(signal.SIGTERM, at_term)


@pytest.fixture(scope="session")
def fonts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where matplotlib keeps its list of fonts, which takes it seconds to make."""
    return tmp_path_factory.mktemp("matplotlib")


@pytest.fixture
def environment(fonts: Path) -> dict[str, str]:
    """Return the surroundings of a command in a process of its own, with Python's own habits."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**inherited, "MPLCONFIGDIR": str(fonts), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def process(environment: dict[str, str], tmp_path: Path) -> Callable[..., Said]:
    """Run a command in a process of its own."""

    def said(*arguments: object, code: str = "", **more: str) -> Said:
        begin = ["-c", code] if code else ["-m", "finetune"]
        done = subprocess.run(
            [sys.executable, *begin, *map(str, arguments)],
            capture_output=True,
            encoding="utf-8",
            cwd=tmp_path,
            env={**environment, **more},
        )
        return Said(done.returncode, done.stdout, done.stderr)

    return said


def refusal(said: Said, status: int) -> str:
    """Return the line that says why, having seen that there is one, that it comes last, and nothing on stdout."""
    lines = said.err.splitlines()
    causes = [line for line in lines if line.startswith("finetune: ")]
    assert (said.status, said.out) == (status, ""), said.err
    assert causes == lines[-1:], said.err
    assert "Traceback" not in said.err
    return causes[0]


# ── help ────────────────────────────────────────────────────────────────────────────────────────────


def test_help_lists_every_command_with_one_line(cli: Callable[..., Said]) -> None:
    said = cli("--help")

    assert (said.status, said.err) == (0, "")
    for name, command in COMMANDS.items():
        assert f"│ {name} " in said.out
        summary = (command.__doc__ or "").splitlines()[0]
        assert summary.endswith(".")
        assert " ".join(summary.split()[:3]) in said.out


def test_without_a_command_the_help_is_shown(cli: Callable[..., Said]) -> None:
    assert cli() == cli("--help")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_examples_of_itself(name: str, cli: Callable[..., Said]) -> None:
    said = cli(name, "--help")

    _, _, examples = said.out.partition("\nExamples:\n")
    assert (said.status, said.err) == (0, "")
    assert examples.strip()
    assert all(line.startswith(f"  finetune {name} ") for line in examples.strip("\n").splitlines())


def test_the_version_is_the_packages(cli: Callable[..., Said]) -> None:
    import finetune

    assert cli("--version").out.strip() == finetune.__version__


# ── light ───────────────────────────────────────────────────────────────────────────────────────────

WATCHED = """
import sys
{before}
from finetune.cli import main
try:
    main(sys.argv[1:])
finally:
    print("loaded:", *(name for name in {heavy!r} if name in sys.modules), file=sys.stderr)
"""
HEAVY = ("torch", "torchvision", "fastai", "onnx", "onnxruntime", "numpy")
TRAINING = ("torch", "torchvision", "fastai", "onnx")


def loaded(process: Callable[..., Said], *arguments: object, heavy: tuple[str, ...] = HEAVY, before: str = "") -> str:
    said = process(*arguments, code=WATCHED.format(before=before, heavy=heavy))
    assert said.status == 0, said.err
    return said.err.splitlines()[-1].removeprefix("loaded:").strip()


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("run", "--help"), ("list", "datasets"), ("list", "backbones"), ("list", "targets"), ("plugins",)],
    ids=" ".join,
)
def test_what_trains_nothing_loads_nothing_heavy(arguments: tuple[str, ...], process: Callable[..., Said]) -> None:
    assert loaded(process, *arguments) == ""


def test_the_guard_against_heavy_imports_sees_them(process: Callable[..., Said]) -> None:
    assert loaded(process, "plugins", before="import numpy") == "numpy"


def test_predicting_and_inspecting_need_nothing_of_what_training_needs(
    trained: Any, process: Callable[..., Said]
) -> None:
    assert loaded(process, "inspect", trained.model, heavy=TRAINING) == ""
    assert loaded(process, "predict", trained.model, trained.pictures / "valid", heavy=TRAINING) == ""


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("run", "Nothing to train on; give --plugin NAME or --data DIR."),
        ("rnu", 'Unknown command "rnu". Did you mean "run"?'),
        ("run --dta x", "Unknown option: --dta. Did you mean --data?"),
        ("run --data x --data y", "Parameter --data specified multiple times."),
        ("run --data", "parameter --data requires an argument"),
        ("run --data x --epochs three", 'Invalid value for --epochs: unable to convert "three" into int.'),
        ("run --data x --epochs -1", "--epochs -1 is not allowed; give a whole number from 0 to 10000."),
        ("run --data x --lr nan", "--lr nan is not allowed; give between 1e-10 and 10, or 'find'."),
        ("run --data x --batch-size 1", "--batch-size 1 is not allowed; give a whole number from 2 to 65536."),
        ("run --plugin foldr", "Unknown dataset 'foldr'. Did you mean 'folder'?"),
        ("run --plugin folder", "The data set 'folder' needs --data DIR."),
        ("run --data x --source lokal", "Unknown source of 'folder' 'lokal'. Did you mean 'local'?"),
        ("run --data x --backbone resnet81", "Unknown backbone 'resnet81'. Did you mean 'resnet18'?"),
        ("run --data x --target onx", "Unknown target 'onx'. Did you mean 'onnx'?"),
        ("run --config gone.toml", "Cannot read the configuration file gone.toml: No such file or directory."),
        ("run x", "Unused Tokens: ['x']"),
        ("list colours", 'Invalid value "colours" for KIND.'),
        ("predict", "parameter MODEL requires an argument"),
        ("predict model.onnx", "No pictures were given; name files or folders after the model."),
        ("predict model.onnx x.jpg --json --csv", "--json and --csv exclude each other; give one of them."),
        ("predict model.onnx x.jpg --top 0", "--top 0 is not allowed; give a whole number of at least 1."),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(arguments: str, text: str, cli: Callable[..., Said]) -> None:
    said = cli(*arguments.split())

    assert text in refusal(said, 2)
    assert len(said.err.splitlines()) == 1
    assert list(Path().iterdir()) == []


def test_an_unknown_key_of_a_configuration_file_is_a_usage_error(cli: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("epoch = 3")

    line = refusal(cli("run", "--config", tmp_path / "config.toml"), 2)

    assert "Unknown option 'epoch'. Did you mean 'epochs'?" in line


def break_all(folder: Path) -> None:
    for picture in folder.iterdir():
        picture.write_bytes(picture.read_bytes()[:100])


DATA_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder that is not there": (shutil.rmtree, "The folder {} does not exist."),
    "an empty folder": (lambda root: [shutil.rmtree(path) for path in root.iterdir()], "{} holds no class folders"),
    "one class": (lambda root: shutil.rmtree(root / "dog"), "{} holds one class, 'cat'; at least two are needed."),
    "a class without pictures": (
        lambda root: [path.unlink() for path in (root / "dog").iterdir()],
        "The class folder {}/dog holds no pictures.",
    ),
    "a class of broken pictures": (
        lambda root: break_all(root / "dog"),
        "The class 'dog' has no readable picture: {}/dog/000.jpg:",
    ),
    "too many broken pictures": (
        lambda root: (root / "dog" / "000.jpg").write_bytes(b""),
        "1 of 8 pictures cannot be read, more than 5%; first {}/dog/000.jpg:",
    ),
}


@pytest.mark.parametrize("fault", DATA_FAULTS)
def test_pictures_that_cannot_be_trained_on_are_a_data_error(
    fault: str, cli: Callable[..., Said], pictures: Path
) -> None:
    spoil, text = DATA_FAULTS[fault]
    spoil(pictures)

    line = refusal(cli("run", "--data", pictures, *tiny()), 3)

    assert text.format(pictures) in line
    assert list(Path().iterdir()) == []


def test_an_image_size_that_the_backbone_cannot_take_is_a_usage_error(cli: Callable[..., Said], pictures: Path) -> None:
    line = refusal(cli("run", "--data", pictures, *tiny(backbone="vit_b_32", image_size=40)), 2)

    assert "--image-size 40 is not allowed for the backbone 'vit_b_32'" in line
    assert "the nearest is 32" in line or "the nearest is 64" in line
    assert list(Path().iterdir()) == []


def test_unfreezing_more_than_there_is_is_a_usage_error(cli: Callable[..., Said], pictures: Path) -> None:
    line = refusal(cli("run", "--data", pictures, *tiny(unfreeze=9)), 2)

    assert "--unfreeze 9 is not allowed; squeezenet1_1 has 4 stages" in line
    assert list(Path().iterdir()) == []


def test_a_weight_file_that_is_not_there_is_a_usage_error(cli: Callable[..., Said], pictures: Path) -> None:
    line = refusal(cli("run", "--data", pictures, *tiny(weights="gone.pth")), 2)

    assert "--weights gone.pth: there is no such file." in line
    assert list(Path().iterdir()) == []


def test_weights_of_another_network_are_refused(cli: Callable[..., Said], pictures: Path, tmp_path: Path) -> None:
    save_file(torchvision.models.shufflenet_v2_x0_5(weights=None).state_dict(), tmp_path / "other.safetensors")

    line = refusal(cli("run", "--data", pictures, *tiny(weights=tmp_path / "other.safetensors")), 4)

    assert "do not fit the backbone 'squeezenet1_1'" in line
    assert list(Path().iterdir()) == []


BROKEN_PLUGIN = "import a_package_that_nobody_has"


def test_a_broken_plugin_that_is_asked_for_is_a_plugin_error(
    process: Callable[..., Said], install: Callable[[str, str], Path]
) -> None:
    site = install("weeds", BROKEN_PLUGIN)

    line = refusal(process("run", "--plugin", "weeds", PYTHONPATH=str(site)), 5)

    assert "The plugin 'weeds' (finetune_weeds 1.2) was set aside: ModuleNotFoundError:" in line


def test_plugins_shows_a_broken_one_beside_the_others(
    process: Callable[..., Said], install: Callable[[str, str], Path]
) -> None:
    site = install("weeds", BROKEN_PLUGIN)

    told = process("plugins", PYTHONPATH=str(site))
    infos = {info["name"]: info for info in json.loads(process("plugins", "--json", PYTHONPATH=str(site)).out)}

    assert told.status == 0
    assert "BROKEN, set aside: ModuleNotFoundError" in told.out
    assert infos["weeds"]["problem"].startswith("ModuleNotFoundError")
    assert infos["finetune.onnx_target"] | {"version": ""} == {
        "name": "finetune.onnx_target",
        "distribution": "finetune",
        "version": "",
        "offers": {"dataset": [], "backbone": [], "target": ["onnx"]},
        "problem": None,
    }


def test_a_folder_that_cannot_be_written_to_is_a_resource_error(
    cli: Callable[..., Said], pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")

    line = refusal(cli("run", "--data", pictures, *tiny(), "--out", tmp_path / "file" / "runs"), 6)

    assert f"Cannot write {tmp_path / 'file' / 'runs'}:" in line
    assert "Choose another folder with --out." in line


FULL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
from finetune.cli import main
main(sys.argv[1:])
"""


def test_a_full_disk_is_a_resource_error_and_leaves_no_part_of_a_file(
    process: Callable[..., Said], pictures: Path, tmp_path: Path
) -> None:
    said = process("run", "--data", pictures, *tiny(), "--out", "runs", code=FULL_DISK)

    (folder,) = (tmp_path / "runs").iterdir()
    assert "weights.safetensors: File too large. Free some space, or choose another folder" in refusal(said, 6)
    assert not {"weights.safetensors", "model.onnx"} & {path.name for path in folder.iterdir()}
    assert not list(folder.glob(".*"))
    assert json.loads((folder / "run.json").read_text())["status"] == "failed"


@pytest.mark.parametrize("command", ["predict", "inspect", "verify"])
@pytest.mark.parametrize("content", [None, b"", b"<html>404</html>", b"x" * 1000], ids=["none", "empty", "web", "junk"])
def test_a_file_that_is_no_model_is_refused(
    command: str, content: bytes | None, cli: Callable[..., Said], pictures: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model.onnx"
    if content is not None:
        model.write_bytes(content)

    line = refusal(cli(command, model, *([pictures] if command == "predict" else [])), 4)

    assert line.startswith(f"finetune: {model}: ")


def test_the_debug_switch_shows_the_traceback_and_keeps_the_status(
    cli: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNE_DEBUG", "1")

    said = cli("run", "--data", "gone")

    assert said.status == 3
    assert said.err.startswith("Traceback")
    assert said.err.splitlines()[-1].startswith("finetune: The folder gone does not exist.")


# ── running ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_dry_run_shows_the_plan_and_trains_nothing(cli: Callable[..., Said], pictures: Path) -> None:
    said = cli("run", "--data", pictures, *tiny(), "--dry-run")

    assert said.status == 0
    assert "6 to train on, 2 to validate on, 0 left out" in said.out
    assert "squeezenet1_1 at 32 px, weights: none" in said.out
    assert "from scratch  1 epochs" in said.out
    assert "Training" not in said.err
    assert list(Path().iterdir()) == []


def test_a_dry_run_can_be_read_by_a_script(cli: Callable[..., Said], pictures: Path) -> None:
    plan = json.loads(cli("run", "--data", pictures, *tiny(), "--dry-run", "--json").out)

    assert plan["class_counts"] == {"cat": [3, 1], "dog": [3, 1]}
    assert plan["exports"] == ["onnx"]
    assert plan["config"]["image_size"] == 32


def test_a_run_prints_one_json_object_and_nothing_else_on_stdout(
    process: Callable[..., Said], pictures: Path, tmp_path: Path
) -> None:
    said = process("run", "--data", pictures, *tiny(), "--out", "runs", "--json")

    result = json.loads(said.out)
    assert said.status == 0
    assert Path(result["run"]).parent == tmp_path / "runs"
    assert Path(result["onnx"]).is_file()
    assert result["metric"] == "accuracy"
    assert result["value"] == result["exported_value"]
    assert (result["compared"], result["agreement"]) == (2, 1.0)
    assert result["max_difference"] <= 1e-4
    assert result["seconds"]["total"] > 0
    assert "Training, from scratch" in said.err


def test_a_run_prints_a_table_that_says_what_comes_next(cli: Callable[..., Said], pictures: Path) -> None:
    said = cli("run", "--data", pictures, *tiny())

    (folder,) = (Path.cwd() / "runs").iterdir()
    rows = dict(line.split(None, 1) for line in said.out.splitlines())
    assert (said.status, list(rows)) == (
        0,
        ["data", "network", "accuracy", "exported", "seconds", "run", "model", "next"],
    )
    assert rows["data"] == "pictures: 2 classes, 6 training and 2 validation pictures"
    assert rows["run"] == str(folder)
    assert rows["next"] == f"finetune predict {folder / 'model.onnx'} PICTURE..."


def test_finding_the_rate_prints_it_and_draws_its_curve(cli: Callable[..., Said], pictures: Path) -> None:
    said = cli("lr-find", "--data", pictures, *tiny(), "--json")

    found = json.loads(said.out)
    assert said.status == 0
    assert 1e-7 <= found["suggestion"] <= 10
    with Image.open(found["curve"]) as curve:
        assert curve.format == "PNG"
    assert json.loads((Path(found["curve"]).parent / "run.json").read_text())["suggestion"] == found["suggestion"]


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_says_so_and_leaves_no_model(
    sent: signal.Signals, status: int, environment: dict[str, str], pictures: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "finetune", "run", "--data", str(pictures), *tiny(epochs=9999)]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as running:
        assert running.stderr
        assert any(line.startswith("Training") for line in running.stderr)  # waits for that line, or for the end
        running.send_signal(sent)
        out, err = running.communicate()

    (folder,) = (tmp_path / "runs").iterdir()
    assert (running.returncode, out) == (status, "")
    assert err.splitlines()[-1] == {130: "finetune: interrupted.", 143: "finetune: terminated."}[status]
    assert "Traceback" not in err
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    assert not {"model.onnx", "weights.safetensors"} & {path.name for path in folder.iterdir()}


# ── predicting and inspecting ───────────────────────────────────────────────────────────────────────


@pytest.fixture
def two(trained: Any, tmp_path: Path) -> list[Path]:
    """Return two pictures whose names have a space, a comma, and letters of several scripts."""
    (source,) = (trained.pictures / "valid" / trained.labels[0]).glob("1 of 6*")
    names = [tmp_path / "a cat, maybe.png", tmp_path / "ねこ è.png"]
    return [Path(shutil.copy(source, name)) for name in names]


def test_predict_prints_a_line_for_every_picture_in_order(
    trained: Any, two: list[Path], cli: Callable[..., Said]
) -> None:
    said = cli("predict", trained.model, *two)

    lines = said.out.splitlines()
    assert (said.status, said.err, len(lines)) == (0, "", 2)
    for line, path in zip(lines, two, strict=True):
        assert line.startswith(str(path))
        assert line.removeprefix(str(path)).strip().rpartition(" ")[0] in trained.labels


def test_predict_shows_as_many_labels_as_asked_for(trained: Any, two: list[Path], cli: Callable[..., Said]) -> None:
    said = cli("predict", trained.model, two[0], "--top", 2)

    assert all(label in said.out for label in trained.labels)


def test_predict_takes_folders(trained: Any, cli: Callable[..., Said]) -> None:
    said = cli("predict", trained.model, trained.pictures / "valid", "--json")

    assert len(json.loads(said.out)) == trained.result.compared


def test_predictions_can_be_read_as_json(trained: Any, two: list[Path], cli: Callable[..., Said]) -> None:
    answers = json.loads(cli("predict", trained.model, *two, "--top", 2, "--json").out)

    assert [answer["path"] for answer in answers] == list(map(str, two))
    for answer in answers:
        assert answer["label"] in trained.labels
        assert answer["top"][0] == [answer["label"], answer["probability"]]
        assert sum(probability for _, probability in answer["top"]) == pytest.approx(1, abs=1e-5)


def test_predictions_can_be_read_as_csv(trained: Any, two: list[Path], cli: Callable[..., Said]) -> None:
    said = cli("predict", trained.model, *two, "--top", 2, "--csv")

    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert [(row["path"], row["rank"]) for row in rows] == [(str(path), rank) for path in two for rank in "12"]
    assert {row["label"] for row in rows} == set(trained.labels)
    assert {row["error"] for row in rows} == {""}


def test_a_picture_that_is_missing_is_named_and_the_others_are_answered(
    trained: Any, two: list[Path], cli: Callable[..., Said]
) -> None:
    said = cli("predict", trained.model, two[0], "gone.jpg", two[1])

    assert said.status == 3
    assert [line.startswith(str(path)) for line, path in zip(said.out.splitlines(), two, strict=True)] == [True, True]
    assert said.err.startswith("finetune: gone.jpg: ")
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_a_picture_that_is_missing_is_part_of_what_scripts_read(
    form: str, trained: Any, two: list[Path], cli: Callable[..., Said]
) -> None:
    said = cli("predict", trained.model, two[0], "gone.jpg", form)

    answers = json.loads(said.out) if form == "--json" else list(csv.DictReader(io.StringIO(said.out)))
    assert said.status == 3
    assert [answer["path"] for answer in answers] == [str(two[0]), "gone.jpg"]
    assert answers[1]["error"]


def test_a_folder_without_pictures_is_a_data_error(trained: Any, tmp_path: Path, cli: Callable[..., Said]) -> None:
    (tmp_path / "empty").mkdir()

    assert "holds no pictures" in refusal(cli("predict", trained.model, tmp_path / "empty"), 3)


def test_what_is_printed_is_utf_8_whatever_the_terminal_and_the_names_of_files_are(
    trained: Any, two: list[Path], process: Callable[..., Said], tmp_path: Path
) -> None:
    odd = os.fsdecode(bytes(tmp_path) + b"/\xff.png")
    shutil.copy(two[0], odd)

    said = process("predict", trained.model, odd, two[1], "--json", PYTHONIOENCODING="ascii")

    assert (said.status, said.err) == (0, "")
    assert [answer["path"] for answer in json.loads(said.out)] == [odd, str(two[1])]


def test_inspect_shows_the_labels_and_where_the_model_comes_from(trained: Any, cli: Callable[..., Said]) -> None:
    said = cli("inspect", trained.model)

    assert (said.status, said.err) == (0, "")
    for number, label in enumerate(trained.labels):
        assert f"{number}  {label}" in said.out
    assert trained.run.name in said.out
    assert "squeezenet1_1, weights none\n" in said.out


def test_inspect_prints_the_contract_as_json(trained: Any, cli: Callable[..., Said]) -> None:
    assert tuple(json.loads(cli("inspect", trained.model, "--json").out)["labels"]) == trained.labels


def test_verify_prints_what_it_found(trained: Any, cli: Callable[..., Said]) -> None:
    said = cli("verify", trained.model)

    assert said.status == 0
    assert "graph, hash and golden pairs are right, 2 labels" in said.out
    assert "the same label on 24 of 24 pictures" in said.out


def test_verify_can_be_read_by_a_script(trained: Any, cli: Callable[..., Said]) -> None:
    found = json.loads(cli("verify", trained.model, "--json").out)

    assert found["verification"]["agreement"] == 1.0


def test_verify_of_pictures_that_are_gone_is_a_data_error(
    trained: Any, tmp_path: Path, cli: Callable[..., Said]
) -> None:
    shutil.copytree(trained.run, tmp_path / "run")
    split = tmp_path / "run" / "split.csv"
    split.write_text(split.read_text(encoding="utf-8").replace(str(trained.pictures), "/gone"), encoding="utf-8")

    assert "Give --data, the folder where they are now." in refusal(cli("verify", tmp_path / "run" / "model.onnx"), 3)


# ── readers that go away ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("arguments", [("list", "targets"), ("list", "backbones", "--json")], ids=["short", "long"])
def test_a_reader_that_goes_away_is_no_fault(arguments: tuple[str, ...], environment: dict[str, str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "finetune", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as running:
        assert running.stdout
        assert running.stderr
        running.stdout.close()
        err = running.stderr.read()

    assert (running.returncode, err) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_output_that_finds_no_room_is_a_resource_error(environment: dict[str, str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "finetune", "list", "targets"],
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    assert done.returncode == 6
    assert done.stderr.startswith("finetune: No space left on device: while writing")
    assert len(done.stderr.splitlines()) == 1
