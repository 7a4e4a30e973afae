"""What there is to check about a plugin, and how it is told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.cli.plugins_check import check
from finetune.errors import ConfigError, PluginError
from finetune.testing import Case, Finding, checks_of, commands, metrics, plugin
from finetune.testing.checks import spread
from finetune.types import Backbone

RULES_OF_BOTH = len((*plugin.RULES, *metrics.RULES, *commands.RULES))
"""What ``worst-recall`` and ``count-pets`` are held against."""
Held = Callable[[str, str], Finding]


def test_a_plugin_that_is_not_installed_is_told_with_the_nearest(install: Callable[..., Path]) -> None:
    install()
    with pytest.raises(ConfigError, match=r"^Unknown plugin 'pest'\. Did you mean 'pets'\? Known: .*plugins'"):
        checks_of(Case(plugin="pest"))


def test_a_plugin_that_is_set_aside_is_told_with_the_reason(install: Callable[..., Path]) -> None:
    install({"hooks.py": ("finetune_register_metrics", "finetune_register_metric")})
    with pytest.raises(PluginError, match=r"^The plugin 'pets' \(finetune-pets 1\.2\) was set aside: .*metric"):
        checks_of(Case(plugin="pets"))


@pytest.mark.parametrize("damage", [b"[finetune]\nstrays\n", b"[finetune]\nstrays = \xff\n"], ids=["a line", "a byte"])
def test_a_damaged_distribution_is_told_and_a_healthy_one_beside_it_is_checked(
    damage: bytes, install: Callable[..., Path], probed: Callable[[str], Finding]
) -> None:
    install()
    (install(name="strays") / "finetune_strays-1.2.dist-info" / "entry_points.txt").write_bytes(damage)

    assert probed("is-light").verdict == "ok"
    assert {each.subject for each in checks_of(Case(plugin="pets"))} >= {"plugin 'pets'", "data set 'pets'"}
    with pytest.raises(
        PluginError,
        match=r"^The plugin 'finetune-strays' \(finetune-strays 1\.2\) was set aside: its entry_points\.txt is damaged",
    ) as caught:
        checks_of(Case(plugin="finetune-strays"))
    assert caught.value.exit_code == 5


def test_a_plugin_that_a_variable_leaves_out_is_told(
    install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    monkeypatch.setenv("FINETUNE_DISABLE_PLUGINS", "1")
    with pytest.raises(PluginError, match=r"^The plugin 'pets' is not loaded; check FINETUNE_PLUGINS and FINETUNE_DIS"):
        checks_of(Case(plugin="pets"))


def test_a_plugin_that_takes_the_process_with_it_is_not_let_into_this_one(install: Callable[..., Path]) -> None:
    install({"hooks.py": ('FINETUNE_API = "1.0"', "import os; os._exit(0)")})

    findings = [each.run() for each in checks_of(Case(plugin="pets"))]

    assert {finding.subject for finding in findings} == {"plugin 'pets'"}
    assert [finding.rule for finding in findings if finding.verdict == "failed"] == ["comes-in-time"]


def test_checks_have_names_of_their_own_that_stay(install: Callable[..., Path], case: Case) -> None:
    install()
    first, second = ([each.id for each in checks_of(case)] for _ in range(2))
    assert first == second
    assert len(set(first)) == len(first)
    assert "data-set-pets-from-web-takes-up-a-cut-download" in first


def test_the_last_check_of_each_thing_is_known(install: Callable[..., Path], case: Case) -> None:
    install()
    checks = checks_of(case)
    last = {id(each.thing): each.id for each in checks}
    assert [each.id for each in checks if each.is_last] == list(last.values())


def test_only_what_is_named_is_tried_and_the_plugin_as_a_whole(install: Callable[..., Path]) -> None:
    install()
    subjects = {each.subject for each in checks_of(Case(plugin="pets", only=("worst-recall", "count-pets")))}
    assert subjects == {"plugin 'pets'", "metric 'worst-recall' of single-label", "command 'count-pets'"}


def test_a_name_that_it_does_not_offer_is_refused(install: Callable[..., Path]) -> None:
    install()
    with pytest.raises(ConfigError, match=r"^Unknown --only 'pest'\. Did you mean 'pets'\? Known: count-pets, pets, "):
        checks_of(Case(plugin="pets", only=("pest",)))


# ── what cannot be tried ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def case() -> Case:
    """Give nothing that its sources could be tried with."""
    return Case(plugin="pets")


def test_without_a_copy_it_is_said_what_to_give(install: Callable[..., Path], held: Held) -> None:
    install()
    finding = held("data set 'pets' from 'copy'", "loads")
    assert (finding.verdict, finding.message) == (
        "not checked",
        "give a small copy with --data, or data= of the Case",
    )


def test_without_stand_ins_it_is_said_what_to_give(install: Callable[..., Path], held: Held) -> None:
    install()
    finding = held("data set 'pets' from 'web'", "is-the-same-again")
    assert (finding.verdict, finding.message) == (
        "not checked",
        "it asks for pets.example.org, and there is no network here: give small stand-ins for its archives, by their "
        "names, with archives= of the Case",
    )


def test_of_a_source_that_cannot_be_loaded_only_that_is_told(install: Callable[..., Path], held: Held) -> None:
    install({"data.py": ("labels = LABELS", "labels = LABEL")})
    finding = held("data set 'pets' from 'drawn'", "states-its-licence")
    assert (finding.verdict, finding.message) == ("not checked", "it could not be loaded; see the rule 'loads'")


# ── a dozen of many backbones ───────────────────────────────────────────────────────────────────────


def backbone(name: str, family: str, parameters: int) -> Backbone:
    return Backbone(name=name, family=family, summary="", build="a:b", parameters=parameters)


def test_of_many_backbones_a_dozen_of_all_families_is_taken_the_smallest_first() -> None:
    many = [
        backbone(f"{family}{size}", family, size) for family in ("vit", "resnet", "swin") for size in range(9, 0, -1)
    ]
    names = [each.name for each in spread(many)]
    assert names == [f"{family}{size}" for family in ("vit", "resnet", "swin") for size in (4, 3, 2, 1)]


def test_of_more_than_a_dozen_families_a_dozen_all_through_the_alphabet_are_taken() -> None:
    many = [backbone(f"{letter}{size}", letter, size) for letter in "abcdefghijklmnop" for size in (2, 1)]
    assert [each.name for each in spread(many)] == [f"{letter}1" for letter in "abcefgijkmno"]


# ── the command ─────────────────────────────────────────────────────────────────────────────────────


def test_the_command_shows_a_table_and_ends_well(
    install: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    install()

    check("pets", only=("worst-recall,count-pets",))

    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["rule", "held", "against", "verdict", "seconds"]
    assert any(line.split()[:-1] == ["shows-its-help", "command", "'count-pets'", "ok"] for line in lines)
    assert lines[-1] == f"{RULES_OF_BOTH} ok, 0 failed, 0 not checked"
    assert err.startswith("Checking the plugin 'pets' …")


def test_the_command_tells_failures_in_full_and_ends_with_the_status_of_plugins(
    install: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    install({"measuring.py": ("return float(min(", "print('recall'); return 100 * float(min(")})

    with pytest.raises(PluginError, match=rf"^The plugin 'pets' breaks 1 of {RULES_OF_BOTH} rules\.$") as caught:
        check("pets", only=("worst-recall", "count-pets"))

    out, err = capsys.readouterr()
    assert caught.value.exit_code == 5
    assert "\nmetric 'worst-recall' of single-label breaks the rule 'is-a-share': expected a value between" in out
    assert "recall\n" in err


def test_the_command_says_how_it_gets_on_in_plain_lines_where_that_is_asked_for(
    install: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")

    check("pets", only=("count-pets",), no_progress=True)

    assert re.fullmatch(r"Checking the plugin 'pets' …\n(.*\n)*", capsys.readouterr().err)


def test_a_metric_that_ends_the_process_does_not_end_the_command(install: Callable[..., Path]) -> None:
    install({"measuring.py": ("    given = ", "    raise SystemExit(0)\n    given = ")})

    with pytest.raises(PluginError, match=rf"breaks {len(metrics.RULES)} of "):
        check("pets", only=("worst-recall",))


def test_the_command_says_what_to_give_for_what_was_not_checked(
    install: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    install()

    check("pets", only=("pets",), json=False)

    out = capsys.readouterr().out
    concerned = "It concerns data set 'pets' from 'copy'."
    assert f"\nNot checked: give a small copy with --data, or data= of the Case. {concerned}\n" in out
    assert re.search(r"^[1-9]\d* ok, 0 failed, [1-9]\d* not checked$", out, re.MULTILINE)


def test_the_command_tells_scripts(install: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    install()

    check("pets", only=("count-pets",), json=True)

    ok = len((*plugin.RULES, *commands.RULES))
    told = json.loads(capsys.readouterr().out)
    assert (told["plugin"], told["counts"]) == ("pets", {"ok": ok, "failed": 0, "not checked": 0})
    assert told["findings"][-1] == {
        "rule": "shows-its-help",
        "subject": "command 'count-pets'",
        "verdict": "ok",
        "message": "",
        "seconds": told["findings"][-1]["seconds"],
    }


def test_the_kit_and_its_fixtures_are_light() -> None:
    source = """
import sys
import finetune.testing.pytest_plugin
from finetune.testing import Case, Conformance, checks_of
assert not {"torch", "numpy", "PIL", "fastai", "onnxruntime"} & set(sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", source], check=False).returncode == 0
