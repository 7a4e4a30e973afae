"""What the plugin offers, and that it costs nothing to ask."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from finetune.cli import app
from finetune.plugins import load_function, load_plugins
from finetune.types import ExportTarget
from finetune_openvino import hooks, target

PROJECT = Path(__file__).parent.parent
README = (PROJECT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^finetune .*?(?= +#|$)", README, re.MULTILINE)
(DEPLOYED,) = (block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "Predictor" in block)


def registered() -> ExportTarget:
    targets: list[ExportTarget] = []
    hooks.finetune_register_targets(targets.append)
    (only,) = targets
    return only


def test_importing_the_hooks_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'PIL', 'openvino', 'onnxruntime'}"
    code = f"import sys, finetune_openvino.hooks; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_target_is_found_and_whole(site: Path) -> None:
    (info,) = (info for info in load_plugins().infos if info.name == "openvino")
    assert (info.problem, info.offers["target"]) == (None, ("openvino",))
    assert load_function(registered().export, "openvino") is target.export


def test_it_is_judged_by_its_answers_and_every_one_of_them() -> None:
    found = registered()
    assert (found.judged_by, found.min_agreement, found.max_difference) == ("answers", 1.0, 1e-4)


def test_a_deployment_installs_neither_finetune_nor_torch() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    needed = {re.split("[<>=]", each)[0] for each in project["dependencies"]}
    assert needed == {"finetune-export", "numpy", "openvino"}
    assert project["optional-dependencies"] == {"target": ["finetune>=0.1"]}


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_readme_parses(line: str) -> None:
    command, bound, _ = app.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)
    assert command.__module__.startswith("finetune.cli")
    assert "openvino" in bound.arguments["options"]["target"]


def test_the_deployment_in_the_readme_answers(one: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code = DEPLOYED.replace("runs/…/openvino", str(one.folder)).replace("photo.jpg", str(one.pictures[0]))
    exec(code, {})
    label, probability = capsys.readouterr().out.rsplit(maxsplit=1)
    assert label in ("dog, brown", "Käfer 甲")
    assert 0.5 <= float(probability) <= 1
