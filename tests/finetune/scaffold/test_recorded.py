from __future__ import annotations

import ast
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.licenses import canonicalize_license_expression
from safetensors.numpy import save_file

from finetune.cli.plugins_new import new
from finetune.errors import ConfigError, FinetuneError, ModelError, ResourceError
from finetune.hookspecs import API_VERSION
from finetune.scaffold.licences import expression
from finetune.scaffold.recorded import check_package, write_package

Tree = Callable[[Path], dict[str, bytes]]
Written = Callable[..., Path]
FILES = {
    ".github/workflows/test.yml",
    ".gitignore",
    "NOTICE",
    "README.md",
    "finetune_street_toys/__init__.py",
    "finetune_street_toys/hooks.py",
    "finetune_street_toys/py.typed",
    "finetune_street_toys/street-toys.safetensors",
    "pyproject.toml",
    "tests/test_conformance.py",
}


@pytest.fixture
def package(record: Path, tmp_path: Path) -> Path:
    return write_package(tmp_path / "finetune-street-toys", record)


def project(folder: Path) -> dict[str, object]:
    project: dict[str, object] = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    return project


# ── what is written ─────────────────────────────────────────────────────────────────────────────────


def test_a_record_becomes_a_whole_distribution(package: Path, record: Path, tree: Tree) -> None:
    files = tree(package)
    assert set(files) == FILES
    assert files["finetune_street_toys/street-toys.safetensors"] == record.read_bytes()
    told = project(package)
    assert (told["name"], told["license"], told["license-files"]) == ("finetune-street-toys", "CC-BY-4.0", ["NOTICE"])
    assert told["entry-points"] == {"finetune": {"street-toys": "finetune_street_toys.hooks"}}
    assert [requirement.split(">=")[0] for requirement in told["dependencies"]] == ["finetune"]  # type: ignore[attr-defined]


def test_no_placeholder_is_left_and_all_code_is_code(package: Path) -> None:
    for path in package.rglob("*"):
        assert "$" not in path.name
        assert path.is_dir() or b"$" not in path.read_bytes() or path.suffix == ".safetensors"
        if path.suffix == ".py":
            ast.parse(path.read_text())


def test_the_hooks_offer_the_record_with_the_hash_of_its_file(package: Path, record: Path) -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location("hooks_of_toys", package / "finetune_street_toys" / "hooks.py")
    assert spec
    assert spec.loader
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    offered: list[object] = []
    hooks.finetune_register_backbones(offered.append)

    (backbone,) = offered
    assert hooks.FINETUNE_API == API_VERSION
    assert (backbone.name, backbone.image_size_px) == ("street-toys", 32)  # type: ignore[attr-defined]
    assert backbone.weights.sha256 == hashlib.sha256(record.read_bytes()).hexdigest()  # type: ignore[attr-defined]
    assert backbone.weights.licence == "CC-BY-4.0"  # type: ignore[attr-defined]


def test_the_readme_says_what_the_weights_are_and_how_they_are_used(package: Path) -> None:
    told = (package / "README.md").read_text("utf-8")
    for fact in (
        "resnet18_half of finetune, 2,795,040 parameters",
        "toys: drawn",
        "CC0-1.0",
        "24 to train on, 6 to validate on",
        "3: ball, doll, kite",
        "accuracy 0.8333, f1 0.8",
        "32 px, crop 1, mean 0.485 0.456 0.406, std 0.229 0.224 0.225",
        "CC-BY-4.0",
        "finetune pretrain --data toys --backbone resnet18_half --image-size 32",
        "finetune run --data DIR --backbone street-toys",
    ):
        assert fact in told
    assert (
        hashlib.sha256((package / "finetune_street_toys" / "street-toys.safetensors").read_bytes()).hexdigest() in told
    )


def test_the_same_record_is_the_same_bytes(package: Path, record: Path, tmp_path: Path, tree: Tree) -> None:
    again = write_package(tmp_path / "elsewhere" / "street-toys", record)
    assert tree(again) == tree(package)


def test_it_is_written_exactly_where_it_was_named(record: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "street-toys"
    assert write_package(folder, record) == folder
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["street-toys"]


NET = """
from finetune.hookspecs import hookimpl
from finetune.builtin.small_resnet import BACKBONE
from dataclasses import replace

@hookimpl
def finetune_register_backbones(register):
    register(replace(BACKBONE, name="weednet"))
"""


def test_the_distribution_that_offers_the_architecture_here_is_required(
    written: Written, tmp_path: Path, install: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(install("nets", NET))
    monkeypatch.setenv("FINETUNE_PLUGINS", "nets")
    record = written(architecture="weednet", offered_by="evil @ https://x", versions={"evil @ https://x": "; import"})
    told = project(write_package(tmp_path / "street-toys", record))
    assert told["dependencies"][1:] == ["finetune-nets>=1.2"]  # type: ignore[index]


def test_a_distribution_whose_facts_are_gone_cannot_be_required(
    written: Written, tmp_path: Path, install: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(site := install("nets", NET))
    (site / "finetune_nets-1.2.dist-info" / "METADATA").unlink()
    monkeypatch.setenv("FINETUNE_PLUGINS", "nets")
    with pytest.raises(ConfigError, match="'weednet' comes from unknown unknown, which is no version that a package"):
        write_package(tmp_path / "street-toys", written(architecture="weednet"))


def test_a_stranger_does_not_choose_what_is_installed(written: Written, tmp_path: Path) -> None:
    told = project(write_package(tmp_path / "street-toys", written(offered_by="evil", versions={"evil": "1"})))
    assert [requirement.split(">=")[0] for requirement in told["dependencies"]] == ["finetune"]  # type: ignore[attr-defined]


def test_an_architecture_that_nobody_offers_here_is_refused(written: Written, tmp_path: Path) -> None:
    record = written(architecture="resnet9", offered_by="evil")
    with pytest.raises(
        ModelError, match=r"'resnet9' of evil, and nobody offers that here\. Install evil where you tru"
    ):
        write_package(tmp_path / "street-toys", record)
    assert list(tmp_path.iterdir()) == []


MARKUP = '"""\n```\n$name "quoted" \\ \x1b[31m <script>'


def test_words_that_people_chose_break_neither_files_nor_terminals(
    written: Written, tmp_path: Path, tree: Tree
) -> None:
    record = written(dataset=MARKUP, source=MARKUP, dataset_licence=MARKUP, command=MARKUP, labels=("a", MARKUP, "c"))
    folder = write_package(tmp_path / "street-toys", record)
    assert "quoted" in str(project(folder)["description"])
    for path, content in tree(folder).items():
        assert path.endswith(".safetensors") or b"\x1b" not in content
    readme = (folder / "README.md").read_text("utf-8").splitlines()
    assert sum(line.startswith("```") for line in readme) % 2 == 0


# ── licences ────────────────────────────────────────────────────────────────────────────────────────


def test_the_text_of_a_licence_is_there_only_for_apache(written: Written, tmp_path: Path) -> None:
    folder = write_package(tmp_path / "street-toys", written(licence="apache-2.0"))
    assert (project(folder)["license"], project(folder)["license-files"]) == ("Apache-2.0", ["LICENSE"])
    assert "Version 2.0, January 2004" in (folder / "LICENSE").read_text()
    assert not (folder / "NOTICE").exists()


def test_a_licence_that_is_no_expression_is_a_reference_to_the_notice(written: Written, tmp_path: Path) -> None:
    folder = write_package(tmp_path / "street-toys", written(licence="free for research (ask us)"))
    assert project(folder)["license"] == "LicenseRef-free-for-research-ask-us"
    assert "under this licence: free for research (ask us)\n" in (folder / "NOTICE").read_text()


@given(st.text())
def test_every_licence_has_an_expression_that_package_metadata_take(licence: str) -> None:
    assert canonicalize_license_expression(expression(licence)) == expression(licence)


@pytest.mark.parametrize("licence", ["", "unknown", " None "])
def test_weights_that_nobody_may_use_are_not_packaged(licence: str, written: Written, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pretrained.safetensors states no licence of its weights .* with --licence"):
        write_package(tmp_path / "street-toys", written(licence=licence))
    assert list(tmp_path.iterdir()) == []


def test_a_licence_of_several_lines_is_refused(written: Written, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is more than one line; pretrain with --licence and its name"):
        write_package(tmp_path / "street-toys", written(licence="MIT\nand more"))


# ── built ───────────────────────────────────────────────────────────────────────────────────────────


def test_wheel_and_source_distribution_carry_the_record(package: Path, record: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(tmp_path / "dist")]
    subprocess.run(build, cwd=package, check=True, capture_output=True)
    (wheel,), (source,) = ((tmp_path / "dist").glob(f"*.{kind}") for kind in ("whl", "tar.gz"))
    place = "finetune_street_toys/street-toys.safetensors"
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(place) == record.read_bytes()
        assert {"finetune_street_toys/hooks.py", "finetune_street_toys/py.typed"} < set(archive.namelist())
        assert any(name.endswith("licenses/NOTICE") for name in archive.namelist())
    with tarfile.open(source) as unpacked:
        names = {name.partition("/")[2] for name in unpacked.getnames()}
    assert {place, "NOTICE", "README.md", "pyproject.toml", "tests/test_conformance.py"} < names


# ── refused, and nothing left ───────────────────────────────────────────────────────────────────────


def refused(folder: Path, record: Path) -> FinetuneError:
    with pytest.raises(FinetuneError) as found:
        write_package(folder, record)
    return found.value


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path / "street-toys", tmp_path / "gone.safetensors")
    assert isinstance(error, ConfigError)
    assert str(error).endswith(
        "gone.safetensors: there is no such file. Give a weight record: 'finetune pretrain' writes one, "
        "pretrained.safetensors in the folder of its run."
    )


def test_weights_without_a_record_are_refused(tmp_path: Path) -> None:
    import numpy as np

    save_file({"conv1": np.zeros((2, 2), np.float32)}, tmp_path / "weights.safetensors")
    error = refused(tmp_path / "street-toys", tmp_path / "weights.safetensors")
    assert isinstance(error, ConfigError)
    assert "weights.safetensors holds weights, and no record of what they are. Give a weight record: 'finetune" in str(
        error
    )


def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"pickled")
    error = refused(tmp_path / "street-toys", tmp_path / "model.safetensors")
    assert isinstance(error, ModelError)
    assert "model.safetensors is damaged or no safetensors file" in str(error)


@pytest.mark.parametrize("name", ["model.pth", "model.txt", "model", "model.SAFETENSORS"])
def test_a_record_with_another_suffix_is_refused(name: str, record: Path, tmp_path: Path) -> None:
    shutil.copyfile(record, tmp_path / name)
    error = refused(tmp_path / "street-toys", tmp_path / name)
    assert isinstance(error, ConfigError)
    what = f"{name} does not end in .safetensors; give the pretrained.safetensors of a 'finetune pretrain'."
    assert str(error).endswith(what)


def test_a_record_that_is_wrong_about_its_architecture_is_refused(written: Written, tmp_path: Path) -> None:
    error = refused(tmp_path / "street-toys", written(parameters=7))
    assert isinstance(error, ModelError)
    assert "says parameters=7 of 'resnet18_half', which has 2795040." in str(error)
    assert list(tmp_path.iterdir()) == []


def test_a_record_whose_tensors_were_changed_is_refused(record: Path, tmp_path: Path) -> None:
    content = bytearray(record.read_bytes())
    content[-1] ^= 1
    (tmp_path / "changed.safetensors").write_bytes(content)
    error = refused(tmp_path / "street-toys", tmp_path / "changed.safetensors")
    assert isinstance(error, ModelError)
    assert [path.name for path in tmp_path.iterdir()] == ["changed.safetensors"]


@pytest.mark.parametrize("name", ["Street", "street_toys", "finetune-", "..", ""])
def test_a_folder_whose_name_is_not_allowed_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not allowed; give lower-case letters, digits and single hyphens"):
        check_package(tmp_path / name if name else Path())


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"The name 'resnet18' is taken by finetune \d"):
        check_package(tmp_path / "finetune-resnet18")


def test_a_folder_that_is_there_is_left_as_it_is(record: Path, tmp_path: Path, tree: Tree) -> None:
    (tmp_path / "street-toys").mkdir()
    (tmp_path / "street-toys" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"street-toys exists already\. Choose another name, or another place\."):
        write_package(tmp_path / "street-toys", record)
    assert tree(tmp_path) == {"street-toys/mine.txt": b"mine"}


def test_checking_leaves_no_trace(tmp_path: Path) -> None:
    check_package(tmp_path / "new" / "street-toys")
    assert list(tmp_path.iterdir()) == []


def test_a_place_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match=r"Cannot write to .*file: Not a directory"):
        check_package(tmp_path / "file" / "street-toys")


CHECKS = """
import os, pathlib, sys
from finetune.errors import ResourceError
from finetune.plugins import load_plugins
from finetune.scaffold.recorded import check_package, write_package
load_plugins()
if os.geteuid() == 0:
    os.seteuid(65534)  # permissions mean nothing to root
folder, record = pathlib.Path("street-toys"), pathlib.Path(sys.argv[1])
for write in (lambda: check_package(folder), lambda: write_package(folder, record)):
    try:
        write()
    except ResourceError as error:
        print(error.exit_code, error)
"""


def test_a_folder_that_may_not_be_written_to_is_told_with_the_remedy(record: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        done = subprocess.run(
            [sys.executable, "-c", CHECKS, str(record)], capture_output=True, text=True, check=True, cwd=tmp_path
        )
    finally:
        tmp_path.chmod(0o755)
    told = "6 Cannot write to .: Permission denied. Check space and permissions there, then run again.\n"
    assert done.stdout == told * 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")], ids=["Ctrl-C", "full"])
def test_writing_that_is_interrupted_leaves_nothing(
    error: BaseException, record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(source: Path, place: Path) -> None:
        place.write_bytes(source.read_bytes()[:1000])
        raise error

    monkeypatch.setattr(shutil, "copyfile", interrupted)
    with pytest.raises(ResourceError if isinstance(error, OSError) else KeyboardInterrupt):
        write_package(tmp_path / "street-toys", record)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_another_process_makes_meanwhile_is_left_to_it(
    record: Path, tmp_path: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*_: object) -> None:
        (tmp_path / "street-toys").mkdir()
        (tmp_path / "street-toys" / "theirs.txt").write_text("theirs")

    monkeypatch.setattr(shutil, "copyfile", meanwhile)
    assert "street-toys was made by another process meanwhile. Choose another name." in str(
        refused(tmp_path / "street-toys", record)
    )
    assert tree(tmp_path) == {"street-toys/theirs.txt": b"theirs"}


# ── the command ─────────────────────────────────────────────────────────────────────────────────────


def test_the_command_says_what_to_type_next(record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new("finetune-street-toys", kind="backbone", record=record, out=tmp_path)
    told = capsys.readouterr().out
    assert (tmp_path / "street-toys" / "finetune_street_toys" / "street-toys.safetensors").is_file()
    assert "finetune run --data DIR --backbone street-toys\n" in told


@pytest.mark.parametrize("kind", ["dataset", "target"])
def test_only_a_backbone_is_made_from_a_record(kind: str, record: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"--from gives a backbone its weights, and --kind is {kind}; give --kind"):
        new("street-toys", kind=kind, record=record, out=tmp_path)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_from_is_an_option_of_the_command_line(record: Path, tmp_path: Path) -> None:
    words = ("plugins", "new", "street-toys", "--kind", "backbone", "--from", str(record), "--out", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "finetune", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "FINETUNE_DISABLE_PLUGINS": "1"},
    )
    assert (done.returncode, (tmp_path / "street-toys").is_dir()) == (0, True), done.stderr
