"""What the command line refuses: one line on stderr, nothing on stdout, and the right exit status."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torchvision
from safetensors.torch import save_file

from .conftest import Said, refusal, tiny


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
        ("run --data x --strategy prob", 'Invalid value "prob" for --strategy. Choose from: "auto", "probe",'),
        ("run --data x --strategy prob", 'Did you mean "probe"?'),
        ("run --data x --head lineal", 'Did you mean "linear"?'),
        ("run --data x --optimizer adagrad", 'Did you mean "Adagrad"?'),
        ("run --data x --schedule OneCycle", 'Did you mean "OneCycleLR"?'),
        ("run --data x --momentum 1", "--momentum 1.0 is not allowed; give between 0 and 0.9999."),
        ("run --data x --views 0", "--views 0 is not allowed; give a whole number from 1 to 64."),
        ("run --data x --lr 1e9", "--lr 1000000000.0 is not allowed; give between 1e-10 and 10, or 'find'."),
        ("run --data x --recipe slow", "Unknown recipe of 'folder' 'slow'. No recipe of 'folder' is known."),
        ("run --data x --target onx", "Unknown target 'onx'. Did you mean 'onnx'?"),
        ("run --config gone.toml", "Cannot read the configuration file gone.toml: No such file or directory."),
        ("run --data x --fold 2", "--fold 2 is not allowed; give --folds, and a number from 1 to it."),
        ("run --data x --folds 3 --fold 4", "--fold 4 is not allowed; give --folds, and a number from 1 to it."),
        ("run --data x --folds 1", "--folds 1 is not allowed; give a whole number from 2 to 100."),
        ("run --data x --folds 3 --split s.csv", "--folds divides the pictures itself, and --split says how;"),
        (
            "run --data t.csv --group-col dog --group-pattern a",
            "--group-col and --group-pattern both say what the groups are; leave out one.",
        ),
        ("run --data t.csv --group-pattern (", "--group-pattern '(' is not allowed; give a regular expression."),
        ("run --data x --label-col breed", "--label-col is for tables, and the source 'local' of 'folder' is none;"),
        ("run --data x --skip-missing", "--skip-missing is for tables, and the source 'local' of 'folder' is none;"),
        ("run --data x --name user/set", "The source 'local' of 'folder' takes no --name; leave it out."),
        ("run --data x --task multilabel", 'Did you mean "multi-label"?'),
        ("run --data x --monitor acuracy", "Unknown --monitor 'acuracy'. Did you mean 'accuracy'? Known: accuracy,"),
        ("run --data x --track nothing", 'Choose from: "tensorboard", "wandb", "mlflow".'),
        ("run --data x --abstain-at 2", "--abstain-at 2.0 is not allowed; give a share between 0.01 and 1."),
        ("run --resume x --config c.toml", "--resume goes on with a run as it was begun; leave out --config and"),
        ("run --resume x --dry-run", "--resume goes on with a run as it was begun; leave out --config and --dry-run."),
        ("run --resume x", "x is no run's folder: it has no run.json. Name the folder that the run was written to."),
        ("run x", "Unused Tokens: ['x']"),
        ("pretrain", "Nothing to train on; give --plugin NAME or --data DIR. See 'finetune list datasets'."),
        ("pretrain --data x --strategy probe", "Unknown option: --strategy."),
        (
            "pretrain --data x --monitor acuracy",
            "Unknown --monitor 'acuracy'. Did you mean 'accuracy'? Known: accuracy,",
        ),
        ("pretrain --data x --label-smoothing 1", "--label-smoothing 1.0 is not allowed; give between 0 and 0.9."),
        ("pretrain --data x --package Mine", "The name 'Mine' is not allowed; give lower-case letters,"),
        ("pretrain --data x --package mobilenet_v2", "The name 'mobilenet_v2' is not allowed;"),
        ("pretrain --data x --package dogbreeds", "The name 'dogbreeds' is taken by"),
        ("pretrain --resume x --config c.toml", "--resume goes on with a pretraining as it was begun; leave out"),
        ("pretrain --resume x --dry-run", "--resume goes on with a pretraining as it was begun; leave out --config"),
        ("pretrain --resume x", "x is no run's folder: it has no run.json. Name the folder that the run was written"),
        ("list colours", 'Invalid value "colours" for KIND.'),
        ("list recips", 'Did you mean "recipes"?'),
        ("predict", "the following arguments are required: MODEL, SOURCE; see 'finetune predict --help'"),
        ("predict model.onnx x.jpg --top 0", "argument --top: 0 is not allowed; give a whole number of at least 1;"),
        ("inspect", "the following arguments are required: MODEL; see 'finetune inspect --help'"),
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


IMPOSSIBLE = {
    "a layer that does not exist": (
        {"layer": "stag2"},
        "Unknown --layer 'stag2'. Did you mean 'stage2'? Known: stage1, stage2, stage3, stem.",
    ),
    "a single stage unfrozen stage by stage": (
        {"strategy": "gradual", "layer": "stem"},
        "--strategy gradual unfreezes stage by stage, and squeezenet1_1 has one; take --strategy finetune.",
    ),
    "a classic classifier of two layers": (
        {"strategy": "svm", "head": "fastai"},
        "--head fastai is not allowed with --strategy svm, which is linear.",
    ),
    "a rate for a classic classifier": (
        {"strategy": "logreg", "lr": "find"},
        "--strategy logreg has no learning rate to find; leave out --lr find.",
    ),
    "a probe without epochs": (
        {"strategy": "probe", "freeze_epochs": 0},
        "Nothing would be trained; give --freeze-epochs at least 1.",
    ),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_a_strategy_that_cannot_be_followed_is_a_usage_error(
    case: str, cli: Callable[..., Said], pictures: Path
) -> None:
    said, text = IMPOSSIBLE[case]

    assert text in refusal(cli("run", "--data", pictures, *tiny(**said)), 2)
    assert list(Path().iterdir()) == []


def test_training_that_diverges_ends_with_a_status_of_its_own(cli: Callable[..., Said], pictures: Path) -> None:
    exploding = tiny(strategy="finetune", freeze_epochs=1, unfrozen_lr=10.0, schedule="StepLR", epochs=9)

    line = refusal(cli("run", "--data", pictures, *exploding), 7)

    assert "loss became" in line
    assert line.endswith("is in weights.safetensors.")
    assert list(Path().glob("runs/*/weights.safetensors"))
    assert not list(Path().glob("runs/*/model*.onnx"))


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
    assert "set aside  BROKEN: ModuleNotFoundError" in told.out
    assert infos["weeds"]["problem"].startswith("ModuleNotFoundError")
    assert infos["finetune.targets"] | {"version": ""} == {
        "name": "finetune.targets",
        "distribution": "finetune",
        "version": "",
        "licence": "Apache-2.0",
        "origin": "built in",
        "api": None,
        "offers": {"target": ["onnx", "int8", "fp16", "triton", "web", "hf"]},
        "problem": None,
        "warnings": [],
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
