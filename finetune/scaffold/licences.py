"""What a distribution says of the licence of the weights in it, as package metadata have it."""

from __future__ import annotations

import re

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from finetune.errors import ConfigError
from finetune_export.cli.output import CONTROL

UNKNOWN = ("", "unknown", "none", "n/a", "?", "tbd", "todo")
"""What people write, in lower case, where they state nothing."""
_LONGEST = 60


def refuse_unstated(licence: str, what: str) -> None:
    """Raise ``ConfigError`` about ``what`` where its licence says nothing, or is more than one line."""
    if licence.strip().lower() in UNKNOWN:
        raise ConfigError(
            f"{what} states no licence of its weights ('{licence}'), so that nobody could use what is shared. Pretrain "
            "with --licence, such as --licence CC-BY-4.0; the licence of the pictures may have a say in it."
        )
    if CONTROL.search(licence):
        raise ConfigError(f"{what} states a licence that is more than one line; pretrain with --licence and its name.")


def expression(licence: str) -> str:
    """Return a licence as an SPDX expression: itself, in the standard's spelling, or a ``LicenseRef-`` made of it."""
    try:
        return canonicalize_license_expression(licence)
    except InvalidLicenseExpression:
        words = re.sub("[^A-Za-z0-9.]+", "-", licence).strip("-.")[:_LONGEST].rstrip("-.")
        return f"LicenseRef-{words or 'NOTICE'}"
