"""Each fault is found by its rule, which says what was expected, what was found, and where to read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.testing import Finding

from .broken.defects import IN_MODULE, METADATA, REGISTERED, Defect
from .broken.loads import LOADS


def by_name(defects: tuple[Defect, ...]) -> Any:
    return pytest.mark.parametrize("defect", defects, ids=[defect.name.replace(" ", "-") for defect in defects])


def message_of(defect: Defect, site: Path, copy: Path) -> str:
    (package,) = (path.name for path in site.iterdir() if path.suffix != ".dist-info")
    found = defect.found.format(site=site, package=package, copy=copy)
    return (
        f"{defect.subject} breaks the rule '{defect.rule}': expected {defect.expected}; found {found}. "
        f"Read: python -m pydoc {defect.read}"
    )


@by_name(IN_MODULE + METADATA)
def test_a_fault_of_the_module_or_the_distribution_is_found_in_a_process_of_its_own(
    defect: Defect, install: Callable[..., Path], probed: Callable[..., Finding], copy: Path
) -> None:
    site = install(defect.edits)

    finding = probed(defect.rule)

    assert (finding.verdict, finding.message) == ("failed", message_of(defect, site, copy))


@by_name(REGISTERED + LOADS)
def test_a_fault_of_what_it_offers_is_found(
    defect: Defect, install: Callable[..., Path], held: Callable[[str, str], Finding], copy: Path
) -> None:
    site = install(defect.edits)

    finding = held(defect.subject, defect.rule)

    assert (finding.verdict, finding.message) == ("failed", message_of(defect, site, copy))


def test_a_recipe_of_a_backbone_that_does_not_exist_is_found(
    install: Callable[..., Path], held: Callable[[str, str], Finding]
) -> None:
    install({"hooks.py": ('backbone="resnet18"', 'backbone="resnet18x"')})

    finding = held("data set 'pets'", "recipes-can-be-run")

    assert "of which a run says: Unknown backbone 'resnet18x'. Did you mean 'resnet18'?" in finding.message


def test_a_plugin_that_hangs_is_ended_and_said_where(
    install: Callable[..., Path], probed: Callable[..., Finding]
) -> None:
    install({"hooks.py": ('FINETUNE_API = "1.0"', "import threading; threading.Event().wait()")})

    finding = probed("comes-in-time", limit_s=1.0)

    assert finding.message == (
        "plugin 'pets' breaks the rule 'comes-in-time': expected to be imported within 10 s; found that it was not "
        "done after 1 s, in hooks.py, line 7. Read: python -m pydoc finetune.hookspecs"
    )


def test_of_a_plugin_that_cannot_be_imported_nothing_else_is_checked(
    install: Callable[..., Path], probed: Callable[..., Finding]
) -> None:
    install({"hooks.py": ('FINETUNE_API = "1.0"', "import os; os._exit(0)")})

    finding = probed("is-light")

    assert (finding.verdict, finding.message) == ("not checked", "it could not be imported")


def test_a_package_without_types_is_not_checked(
    install: Callable[..., Path], held: Callable[[str, str], Finding]
) -> None:
    site = install()
    next(site.glob("*/py.typed")).unlink()

    finding = held("plugin 'pets'", "ships-its-types")

    assert (finding.verdict, finding.message) == (
        "not checked",
        "its package has no py.typed; add one where it is typed",
    )


def test_a_name_that_another_plugin_has_as_well_is_told_to_the_one_that_keeps_it(
    install: Callable[..., Path], held: Callable[[str, str], Finding]
) -> None:
    install()
    install(name="strays")

    finding = held("plugin 'pets'", "names-are-its-own")

    assert finding.message == (
        "plugin 'pets' breaks the rule 'names-are-its-own': expected names that no other plugin has; found that "
        "finetune-strays 1.2 is set aside: the dataset name 'pets' is taken by finetune-pets 1.2. "
        "Read: python -m pydoc finetune.plugins"
    )
