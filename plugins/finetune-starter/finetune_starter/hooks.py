"""The backbone 'starter' for finetune; light: what it states is read from the head of the record beside this file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from finetune.hookspecs import hookimpl
from finetune.types import Backbone
from finetune.weight_record import backbone_of

FINETUNE_API = "1.0"
RECORD = Path(__file__).with_name("starter.safetensors")
SHA256 = "10b568b7eb9e5556d0d755a1615739a559b9fcaf0fff7cca74d2ad5d66d4c222"


@hookimpl
def finetune_register_backbones(register: Callable[[Backbone], None]) -> None:
    """Offer the backbone."""
    register(backbone_of(RECORD, name="starter", sha256=SHA256))
