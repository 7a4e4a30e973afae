"""Imports only ever run downhill: every import of both packages, held against the map in CONTRIBUTING.md.

Imports inside functions and for type checkers count as well; only a package's own ``__version__`` is for everybody.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

from finetune import types
from finetune_export import contract

ROOT = Path(__file__).parent.parent
HOMES = {"finetune": ROOT, "finetune_export": ROOT / "export"}
FILES = [file for name, home in HOMES.items() for file in sorted((home / name).rglob("*.py"))]
LEARNER = "finetune/training/learner/"
TRAINING = ("torch", "torchvision", "fastai", "finetune")
BUILT_IN = ("builtin/table/", "builtin/folder.py", "builtin/targets.py", "builtin/metrics.py")
AT_ONCE = ("cli/", "loading.py", "weight_record.py", *BUILT_IN, "config/")
"""What has to be there at once, with all that it imports: plugins and their hooks, types, config, intent."""
WITHOUT_TORCH = ("auditing.py", "evaluation/", *AT_ONCE)


@cache
def floors() -> dict[str, int]:
    """Return on which line of the map each file and folder is, by its path; folders end with a slash."""
    (drawing,) = re.findall(r"## The map\n+```\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.DOTALL)
    found: dict[str, int] = {}
    above: dict[int, str] = {}
    for number, line in enumerate(drawing.splitlines()):
        if named := re.match(r"( *)([\w./-]+(?:, [\w./-]+)*)(?: |$)", line):
            above = {depth: name for depth, name in above.items() if depth < len(named[1])}
            paths = ["".join(above.values()) + name for name in named[2].split(", ")]
            found |= dict.fromkeys(paths, number)
            if paths[0].endswith("/"):
                above[len(named[1])] = named[2]
    return found


def path_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def place_of(file: Path) -> str:
    """Return the narrowest entry of the map that a module belongs to."""
    path = path_of(file)
    return next(place for place in (path, *(f"{up}/" for up in Path(path).parents)) if place in floors())


def loaded(node: ast.AST, at_import: bool) -> Iterator[str]:
    """Yield the dotted name of all that is imported below a node, or only of what loading the module imports."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from (f"{child.module}.{alias.name}" for alias in child.names if alias.name != "__version__")
        elif not at_import or not (isinstance(child, ast.FunctionDef) or _is_for_type_checkers(child)):
            yield from loaded(child, at_import)


def _is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


@cache
def imports(file: Path, at_import: bool = False) -> list[str]:
    return sorted(set(loaded(ast.parse(file.read_text("utf-8")), at_import)))


@cache
def modules(name: str) -> list[Path]:
    """Return the files of ours that importing a dotted name runs, outermost package first."""
    steps = name.split(".")
    bases = [HOMES.get(steps[0], ROOT).joinpath(*steps[:length]) for length in range(1, len(steps) + 1)]
    files = [file for base in bases for file in (base / "__init__.py", base.with_suffix(".py"))]
    return [file for file in files if file in FILES]


def roots(names: list[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def closure(place: str) -> set[Path]:
    """Return all modules that are loaded with those of a place."""
    waiting = [file for file in FILES if path_of(file).startswith(f"finetune/{place}")]
    assert waiting, f"{place} is gone"
    seen: set[Path] = set()
    while waiting:
        seen.add(file := waiting.pop())
        waiting += {module for name in imports(file, at_import=True) for module in modules(name)} - seen
    return seen


def test_every_name_on_the_map_exists_and_every_module_is_on_it() -> None:
    assert [place for place in floors() if not (ROOT / place).exists()] == []
    divided = {place for place in floors() if any(other.startswith(place) for other in floors() if other != place)}
    assert [path_of(file) for file in FILES if place_of(file) in divided and not file.name.startswith("__")] == []


def test_imports_run_downhill() -> None:
    pairs = [(file, modules(name)[-1]) for file in FILES for name in imports(file) if modules(name)]
    uphill = {(here, there) for here, there in pairs if floors()[place_of(there)] < floors()[place_of(here)]}
    assert len(pairs) > len(FILES), "most imports are no longer seen"
    assert sorted(f"{path_of(here)} imports {path_of(there)}" for here, there in uphill) == []


def test_only_the_learner_imports_fastai() -> None:
    doors = {path_of(file) for file in FILES if any(name.startswith("fast") for name in imports(file))}
    assert {door for door in doors if not door.startswith(LEARNER)} == set()
    assert doors, "the learner's imports are no longer seen"


def test_what_people_deploy_imports_nothing_of_what_people_train_with() -> None:
    deployed = [file for file in FILES if path_of(file).startswith("export/")]
    assert [path_of(file) for file in deployed if roots(imports(file)) & set(TRAINING)] == []


@pytest.mark.parametrize("place", WITHOUT_TORCH)
def test_what_looks_at_pictures_or_at_nothing_loads_no_torch(place: str) -> None:
    loaders = {path_of(file): roots(imports(file, at_import=True)) for file in closure(place)}
    heavy = {"torch", "torchvision", "fastai"} | ({"numpy", "PIL", "onnxruntime"} if place in AT_ONCE else set())
    assert {path: names & heavy for path, names in loaders.items() if names & heavy} == {}


def test_a_task_is_the_same_on_both_sides() -> None:
    assert get_args(types.Task) == get_args(contract.Task)
