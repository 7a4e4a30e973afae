"""Plugins' commands under ``finetune``: listed, run, refused, and blamed by name."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from finetune.cli import COMMANDS, forwarded
from finetune.plugins import OWN_COMMANDS

from .conftest import Said, refusal

HOOKS = """
from finetune.hookspecs import hookimpl
from finetune.types import Command

print("the plugin is loaded")

@hookimpl
def finetune_register_commands(register):
    register(Command(name="greet", summary="Greet somebody.", run="finetune_greeter:greet"))
    register(Command(name="part", summary="Say goodbye.", run="finetune_greeter_gone:part"))

def greet(name: str, /, *, times: int = 1) -> int | None:
"""
GREET = '''    """Greet somebody, as often as it takes.

    Examples:
      finetune greet Ann --times 2
    """
    for _ in range(times):
        print(f"Hello, {name}.")
'''


@pytest.fixture
def greeter(install: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Install a plugin whose command ``greet`` has this body, so that this very process discovers it alone."""

    def installed(body: str) -> None:
        monkeypatch.syspath_prepend(install("greeter", HOOKS + body))
        monkeypatch.setenv("FINETUNE_PLUGINS", "greeter")

    yield installed
    sys.modules.pop("finetune_greeter", None)


def test_a_plugins_command_takes_its_parameters_and_its_output_is_the_result(
    greeter: Callable[[str], None], cli: Callable[..., Said]
) -> None:
    greeter(GREET)

    assert cli("greet", "Ann", "--times", 2) == Said(0, "Hello, Ann.\nHello, Ann.\n", "the plugin is loaded\n")


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)], ids=str)
def test_help_lists_the_commands_of_plugins_without_importing_them(
    words: tuple[str, ...], greeter: Callable[[str], None], cli: Callable[..., Said]
) -> None:
    greeter(GREET)

    said = cli(*words)

    assert said.status == 0
    assert re.search(r"│ greet +Greet somebody\.", said.out)
    assert re.search(r"│ part +Say goodbye\.", said.out)  # whose module is not there


def test_the_help_of_a_plugins_command_is_made_as_ours_is(
    greeter: Callable[[str], None], cli: Callable[..., Said]
) -> None:
    greeter(GREET)

    said = cli("greet", "--help")

    assert said.status == 0
    assert said.out.startswith("Usage: finetune greet [OPTIONS] NAME\n\nGreet somebody, as often as it takes.\n")
    assert said.out.endswith("\nExamples:\n  finetune greet Ann --times 2\n")


def test_a_command_that_says_nothing_about_itself_is_helped_with_its_summary(
    greeter: Callable[[str], None], cli: Callable[..., Said]
) -> None:
    greeter("    pass\n")

    assert "\n\nGreet somebody.\n" in cli("greet", "--help").out


def test_escape_sequences_in_a_summary_never_reach_the_help(
    install: Callable[[str, str], Path], cli: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(install("painter", HOOKS.replace("somebody", r"\x1b]0;owned\x07") + GREET))
    monkeypatch.setenv("FINETUNE_PLUGINS", "painter")

    said = cli("--help")

    assert said.status == 0
    assert not re.search(r"[\x1b\x07]", said.out + said.err)


@pytest.mark.parametrize("name", [*COMMANDS, *forwarded()])
def test_our_own_commands_load_no_plugin(name: str, greeter: Callable[[str], None], cli: Callable[..., Said]) -> None:
    greeter(GREET)

    assert cli(name, "--help").err == ""


def test_the_version_loads_no_plugin(greeter: Callable[[str], None], cli: Callable[..., Said]) -> None:
    greeter(GREET)

    assert cli("--version").err == ""


@pytest.mark.parametrize(("word", "near"), [("gret", "greet"), ("rnu", "run"), ("partt", "part")])
def test_an_unknown_command_is_told_with_the_nearest_of_ours_and_of_plugins(
    word: str, near: str, greeter: Callable[[str], None], cli: Callable[..., Said]
) -> None:
    greeter(GREET)

    assert f'Unknown command "{word}". Did you mean "{near}"?' in refusal(cli(word), 2)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("greet", "requires an argument"),
        ("greet Ann --times many", 'Invalid value for --times: unable to convert "many" into int.'),
        ("greet Ann --tims 2", "Unknown option: --tims. Did you mean --times?"),
    ],
)
def test_words_that_a_plugins_command_does_not_take_are_the_users_fault(
    words: str, text: str, greeter: Callable[[str], None], cli: Callable[..., Said]
) -> None:
    greeter(GREET)

    assert text.casefold() in refusal(cli(*words.split()), 2).casefold()


WHAT = "finetune: The command 'greet' of finetune_greeter 1.2"


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ("raise KeyError('x')", 5, f"{WHAT} failed: KeyError: 'x'. FINETUNE_DEBUG=1 shows where."),
        ("raise OSError('no')", 5, f"{WHAT} failed: OSError: no. FINETUNE_DEBUG=1 shows where."),
        ("from finetune.errors import DataError; raise DataError('No pets.')", 3, "finetune: No pets."),
        ("from finetune.errors import PluginError; raise PluginError('Mine.')", 5, "finetune: Mine."),
    ],
)
def test_what_a_command_raises_is_told_with_whose_it_is_and_our_own_errors_as_they_are(
    body: str, status: int, text: str, greeter: Callable[[str], None], cli: Callable[..., Said]
) -> None:
    greeter(f"    {body}\n")

    assert refusal(cli("greet", "Ann"), status) == text


@pytest.mark.parametrize("body", ["return 9", "import sys; sys.exit(9)"])
def test_a_command_may_end_with_a_status_of_its_own(
    body: str, greeter: Callable[[str], None], cli: Callable[..., Said]
) -> None:
    greeter(f"    {body}\n")

    assert cli("greet", "Ann").status == 9


def test_a_reader_of_its_output_that_goes_away_is_no_fault_of_a_command(
    greeter: Callable[[str], None], process: Callable[..., Said], tmp_path: Path
) -> None:
    greeter("    raise BrokenPipeError\n")

    said = process("greet", "Ann", PYTHONPATH=str(tmp_path / "site"), FINETUNE_PLUGINS="greeter")

    assert (said.status, said.err) == (0, "the plugin is loaded\n")


def test_a_command_whose_module_is_not_there_is_told_with_whose_it_is(
    greeter: Callable[[str], None], cli: Callable[..., Said]
) -> None:
    greeter(GREET)

    assert refusal(cli("part"), 5) == (
        "finetune: The command 'part' of finetune_greeter 1.2 cannot be loaded from 'finetune_greeter_gone:part': "
        "ModuleNotFoundError: No module named 'finetune_greeter_gone'"
    )


def test_a_command_whose_parameters_are_of_no_type_is_told_with_whose_it_is(
    greeter: Callable[[str], None], cli: Callable[..., Said]
) -> None:
    greeter("    pass\ndef odd(x: 'Nothing') -> None: ...\ngreet = odd\n")

    line = refusal(cli("greet", "Ann"), 5)

    assert line.startswith(f"{WHAT} failed: ")
    assert "Nothing" in line


def test_the_name_of_a_plugin_that_was_set_aside_is_told_with_why(
    greeter: Callable[[str], None], cli: Callable[..., Said]
) -> None:
    greeter("    pass\nimport cv3\n")

    assert refusal(cli("greeter"), 5) == (
        "finetune: The plugin 'greeter' (finetune_greeter 1.2) was set aside: "
        "ModuleNotFoundError: No module named 'cv3'"
    )


def test_an_unknown_command_is_told_with_the_plugins_that_were_set_aside(
    greeter: Callable[[str], None], cli: Callable[..., Said]
) -> None:
    greeter("    pass\nimport cv3\n")

    line = refusal(cli("greet"), 2)

    assert 'Unknown command "greet".' in line
    assert line.endswith(" Set aside as broken: greeter; see 'finetune plugins'.")


def test_the_names_that_plugins_may_not_take_are_those_of_our_commands() -> None:
    assert {*COMMANDS, *forwarded()} == OWN_COMMANDS
