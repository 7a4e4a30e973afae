"""Plugins whose time is up while they import a package that can be initialised only once in a process, as torch is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.plugins.time_limit import MOST_ALARMS

from .conftest import HOOKS, Site

ONCE = """
import sys
assert not hasattr(sys, "once"), "initialised twice"
sys.once = True
"""
WAITING = """
import signal, sys
rung = signal.getsignal(signal.SIGALRM)
def ring(number, frame):
    sys.rung = getattr(sys, "rung", 0) + 1
    rung(number, frame)
signal.signal(signal.SIGALRM, ring)
while getattr(sys, "rung", 0) < {alarms}:
    signal.pause()
signal.signal(signal.SIGALRM, rung)
"""
HOST = """
from finetune.plugins import load_plugins
problems = {info.name: info.problem for info in load_plugins(limit_s=0.5).infos}
import slowlib
print(slowlib.done)
print(problems["needy"])
"""
COMMAND = """
from finetune.cli import main
from finetune.plugins import candidates
candidates.load_plugins.__defaults__ = (0.5,)
main(["plugins"])
"""


def python(
    tmp_path: Path, code: str, alarms: int, imports: str = "import slowlib\n"
) -> subprocess.CompletedProcess[str]:
    """Run code beside a plugin that imports a package, which is done when so many alarms have rung."""
    site = Site(tmp_path)
    site.install("needy", imports + HOOKS.format(name="needs"))
    package = tmp_path / "slowlib"
    package.mkdir()
    (package / "__init__.py").write_text("from slowlib import native\ndone = True\n")
    (package / "native.py").write_text(ONCE + WAITING.format(alarms=alarms))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "FINETUNE_PLUGINS": "needy"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)


TOO_SLOW = "importing it and calling its hooks took longer than 0.5 s; heavy imports belong into its functions."


@pytest.mark.parametrize("alarms", [1, 2])
def test_a_package_that_a_plugin_was_importing_can_be_used_afterwards_and_the_plugin_is_set_aside(
    alarms: int, tmp_path: Path
) -> None:
    done = python(tmp_path, HOST, alarms)

    assert done.stderr == ""
    said, problem = done.stdout.splitlines()
    assert said == "True"
    assert problem.startswith(TOO_SLOW)


@pytest.mark.parametrize(
    "imports",
    ["import slowlib\n", "try:\n    import slowlib\nexcept BaseException:\n    pass\n"],
    ids=["plainly", "and goes on"],
)
def test_an_import_that_is_never_done_ends_the_command_with_the_plugins_name(imports: str, tmp_path: Path) -> None:
    done = python(tmp_path, COMMAND, 1000, imports)

    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr == (
        f"finetune: The plugin 'needy' ends this command: it imports 'slowlib', which was not done after "
        f"{0.5 * MOST_ALARMS:g} s and was broken off, so that nothing in this process can use it. "
        "FINETUNE_PLUGINS=NAME,NAME loads only the plugins that it names; or: pip uninstall finetune_needy\n"
    )


def test_a_plugin_that_hangs_in_a_module_of_its_own_package_is_broken_off_at_once(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.install("needy", None)
    package = tmp_path / "finetune_needy"
    package.mkdir()
    (package / "__init__.py").write_text("from finetune_needy import deep\n")
    (package / "deep.py").write_text(WAITING.format(alarms=2))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "FINETUNE_PLUGINS": "needy"}
    code = HOST.replace("import slowlib\nprint(slowlib.done)\n", "import sys\nprint(sys.rung)\n")

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)

    assert done.stdout.startswith(f"1\n{TOO_SLOW}"), done.stderr
