"""Flags that several commands have, with one wording of their help."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

NoProgress = Annotated[
    bool, Parameter(negative=(), help="Say how the work is getting on in plain lines, in a terminal as in a log.")
]
"""As the default ``False``: the live view where stderr is a terminal, and plain lines elsewhere."""
