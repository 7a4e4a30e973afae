"""Where the pictures of a table lie: below its folder, or elsewhere where the table knows them by their content."""

from __future__ import annotations

import os
from pathlib import Path

from finetune.builtin.labels import has_control_character
from finetune.builtin.table.problems import Kind, UnfitError
from finetune.run_folder import sha256_of

NO_PATH = Kind("without a picture's path", "Fill it in, or remove the row.")
MISSING = Kind("with a missing picture", "Correct the path, or leave such rows out with --skip-missing.")
OUTSIDE = Kind(
    "outside the table's folder",
    "A stranger's table could name any file: put the pictures below the table's folder, and name them from there.",
)
CHANGED = Kind("with a changed picture", "Restore it, or make the table anew.")


class Places:
    """The places that a table in ``folder`` may name."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder.resolve())
        # The folder may have been reached through a link, and absolute paths may say so.
        self._inside = tuple(os.path.join(root, "") for root in {self._folder, os.path.abspath(folder)})  # noqa: PTH100, PTH118

    def find(self, cell: str, sha256: str = "") -> Path:
        """Return the picture that a cell names; raise ``UnfitError`` where there is none, or none that may be named.

        What lies outside the folder is taken only with the sha256 of its bytes: who wrote that has had the picture.
        """
        if not cell.strip():
            raise UnfitError(NO_PATH, "it names no picture")
        if has_control_character(cell):
            raise UnfitError(MISSING, f"the path {cell!r} has a line break or control character")
        path, inside = self._path(cell)
        if not inside and not sha256:
            raise UnfitError(OUTSIDE, f"{cell} leads out of the table's folder")
        if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for some paths that cannot exist
            if cell != cell.strip():
                return self.find(cell.strip(), sha256)  # spaces around a name are hardly ever part of it
            raise UnfitError(MISSING, f"the picture {cell} is not there")
        if not inside and sha256.lower() != sha256_of(path):
            raise UnfitError(CHANGED, f"{cell} leads out of the table's folder, and its sha256 is not the table's")
        return Path(path)

    def _path(self, cell: str) -> tuple[str, bool]:
        """Return where a cell leads, without asking the disk, and whether that is below the folder."""
        path = os.path.normpath(os.path.join(self._folder, cell))  # noqa: PTH118 - a million of them
        return path, path.startswith(self._inside)
