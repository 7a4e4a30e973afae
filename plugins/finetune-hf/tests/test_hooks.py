from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.cli import make_app
from finetune.cli.commands import add
from finetune.intent import discover
from finetune.plugins import load_function, load_plugins
from finetune_hf import commands, hooks, loading

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("finetune")
]


def test_importing_the_hooks_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'PIL', 'pyarrow', 'huggingface_hub'}"
    code = f"import sys, finetune_hf.hooks; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_data_set_is_found_and_whole(registered: None) -> None:
    (info,) = (info for info in load_plugins().infos if info.name == "hf")
    assert (info.problem, info.offers["dataset"]) == (None, ("hf",))
    assert load_function(hooks.HF.load, "hf") is loading.load


def test_the_commands_are_found_and_whole(registered: None) -> None:
    (info,) = (info for info in load_plugins().infos if info.name == "hf")
    assert info.offers["command"] == ("publish", "fetch")
    functions = [load_function(command.run, command.name) for command in hooks.COMMANDS]
    assert functions == [commands.publish, commands.fetch]


def test_data_choose_the_copy_and_a_name_the_hub(registered: None, tmp_path: Path) -> None:
    assert discover({"plugin": "hf", "data": tmp_path, "label_col": ("x",)}).source.name == "local"
    assert discover({"plugin": "hf", "name": "user/pets", "image_col": "x"}).source.name == "hub"


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_readme_parses(line: str) -> None:
    app = make_app()
    for offered in hooks.COMMANDS:
        add(app, offered.name, load_function(offered.run, offered.name))
    command, bound, _ = app.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)
    assert command.__module__.startswith(("finetune.cli", "finetune_hf.commands"))
    assert bound.arguments


def test_the_readme_shows_every_way() -> None:
    for word in ("--data", "--name", "finetune publish", "finetune fetch"):
        assert any(word in line for line in COMMANDS)
