"""What a new plugin begins with: a whole distribution, made of templates."""

from typing import Literal

Kind = Literal["dataset", "backbone", "target"]
"""What a new plugin may offer."""
