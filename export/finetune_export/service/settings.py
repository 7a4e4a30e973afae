"""What an operator decides about the service; every default and bound stands here and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from finetune_export.image_gate import Limits
from finetune_export.machine import cores

MiB = 2**20
TOKEN_VARIABLE = "FINETUNE_TOKEN"  # in the environment of the command line; workers do not get it


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the service listens, what it admits, and when it gives up.

    ``models`` are files by the name they answer to. ``concurrency`` is how many pictures each worker process decodes
    and classifies at the same time, ``queue`` how many more may wait for that; what comes on top is refused with 503.
    ``token``, if there is one, has to come with every request but those for health and for the page. A body is bounded
    in bytes, and so are the bodies of all requests together, ``max_held_bytes``; pictures are in number and pixels.
    Times are in seconds: a header and a body have to arrive, a run of the network has to end, an idle connection is
    kept, a refused body is read on, and requests are finished after SIGTERM, for as long as these say.
    """

    models: Mapping[str, Path]
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    concurrency: int = field(default_factory=cores)
    queue: int = 128
    token: str | None = None
    providers: tuple[str, ...] = ()
    max_header_bytes: int = 64 * 2**10
    max_body_bytes: int = 10 * MiB
    max_held_bytes: int = 256 * MiB
    max_pictures: int = 32
    max_connections: int = 512
    limits: Limits = field(default_factory=lambda: Limits(max_bytes=10 * MiB, max_pixels=25_000_000))
    header_timeout_s: float = 5.0
    body_timeout_s: float = 30.0
    run_timeout_s: float = 10.0
    keep_alive_s: float = 75.0  # longer than load balancers keep theirs, so that it is they who close an idle one
    linger_s: float = 3.0
    drain_timeout_s: float = 30.0
    watch: bool = True
    watch_interval_s: float = 0.5

    def to_json(self) -> str:
        """Return the settings as one line of JSON, for a worker process; it holds the token."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str | bytes) -> Settings:
        """Return the settings that ``to_json`` wrote."""
        values = json.loads(text)
        values["models"] = {name: Path(path) for name, path in values["models"].items()}
        values["providers"] = tuple(values["providers"])
        values["limits"] = Limits(**values["limits"])
        return cls(**values)
