"""The same model behind our service, a plain handler and LitServe."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from answers import GOOD
from goals import Found, Table, shown
from servers import Server, ours
from workplace import Workplace

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CLIENTS = (8, 32)
SKIPPED = "LitServe: skipped; it is not in {}, and pip cannot install it there ({})."
ABOUT = """One model, one machine, the same clients. The plain handler is Starlette and uvicorn around the predictor \
and nothing more; LitServe has a worker process per core and is sent base64 within JSON, as its documentation has it. \
Memory is that of all processes right after the load, shared pages counted in each. Median, minimum to maximum."""


@dataclass
class Measured:
    """Figures of each repeat."""

    per_s: list[float] = field(default_factory=list)
    p99_ms: list[float | None] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)

    def cells(self) -> list[str]:
        """Return the cells of a table's row."""
        return [shown(self.per_s, 1), shown(self.p99_ms, 1), shown(self.errors), shown(self.memory_mb)]


def rivals(place: Workplace) -> Found:
    """Measure each in turn, ``repeats`` times."""
    plain = [sys.executable, str(HERE / "plain_starlette.py"), str(place.model)]
    servers: dict[str, Callable[[], Server]] = {
        "ours": partial(ours, place.processes, place.model, place.photos, *place.options),
        "plain Starlette": partial(Server, place.processes, plain, place.photos),
    }
    notes = []
    if problem := _install(place.litserve):
        notes.append(problem)
    else:
        command = [_python(place.litserve), str(HERE / "lit_server.py"), str(place.model), str(place.cores)]
        servers["LitServe"] = partial(Server, place.processes, command, place.photos, "base64")
    columns = {(name, clients): Measured() for name in servers for clients in CLIENTS}
    for _ in range(place.lengths.repeats):
        for name, start in servers.items():
            with start() as server:
                for clients in CLIENTS:
                    _note(columns[name, clients], server, clients, place)
    rows = [[name, f"{clients}", *column.cells()] for (name, clients), column in columns.items()]
    table = Table(("", "clients", "pictures/s", "p99 ms", "errors", "memory MB"), rows)
    figures = {f"{name}, {clients}": vars(column) for (name, clients), column in columns.items()}
    return Found("The same model behind others", ABOUT, [table], notes=notes, figures=figures)


def _note(column: Measured, server: Server, clients: int, place: Workplace) -> None:
    warm = place.lengths.warm_up_s
    answers = server.answers(clients=clients, seconds=warm + place.lengths.seconds)
    column.per_s.append(answers.per_s(warm, place.lengths.seconds))
    column.p99_ms.append(answers.quantile_ms(0.99, after_s=warm))
    column.errors.append(len(answers) - answers.count(GOOD))
    column.memory_mb.append(server.process.footprint().rss_mb)


def _install(folder: Path | None) -> str:
    """Put LitServe and our runtime into an environment of their own, if they are not there; return what went wrong."""
    if folder is None:
        return "LitServe: skipped; name a folder for its environment with --litserve."
    python = _python(folder)
    if Path(python).is_file() and not subprocess.run([python, "-c", "import litserve"], capture_output=True).returncode:
        return ""
    venv.create(folder, with_pip=True)
    command = [python, "-m", "pip", "install", "--quiet", "litserve", "--editable", str(ROOT / "export")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return SKIPPED.format(folder, ended.stderr.strip()[-200:]) if ended.returncode else ""


def _python(folder: Path | None) -> str:
    return str(folder / "bin" / "python") if folder else ""
