"""What belongs together by being linked to a common third: connected components, as pairs come in."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np
from numpy.typing import NDArray


class Families:
    """``count`` members, each a family of its own until pairs join them."""

    def __init__(self, count: int) -> None:
        self._root = np.arange(count)  # the first member of each one's family

    def join(self, pairs: NDArray[np.int64]) -> None:
        """Make one family of the two of each pair; ``pairs`` are positions (2, N)."""
        apart = self._root[pairs[0]] != self._root[pairs[1]]
        for a, b in pairs[:, apart].T.tolist():
            first, second = sorted((self._find(a), self._find(b)))
            self._root[second] = first
        while (self._root[self._root] != self._root).any():
            self._root = self._root[self._root]

    def join_equal(self, keys: Iterable[Hashable | None]) -> None:
        """Make one family of all members with an equal key, given in their order; None is equal to nothing."""
        first: dict[Hashable, int] = {}
        pairs = [(first.setdefault(key, at), at) for at, key in enumerate(keys) if key is not None]
        self.join(np.array(pairs, dtype=np.int64).reshape(-1, 2).T)

    def _find(self, member: int) -> int:
        while (root := int(self._root[member])) != member:
            member = root
        return member

    def members(self) -> list[list[int]]:
        """Return the families as lists of positions, in the order of their first members."""
        found: dict[int, list[int]] = {}
        for member, root in enumerate(self._root.tolist()):
            found.setdefault(root, []).append(member)
        return list(found.values())
