"""Where a recorded network can be cut into stages, and where it is.

A cut is possible where a single tensor is all that later steps need of earlier ones, and no parameter is needed on
both sides. It is made where the next map has fewer cells, so that a stage works at one resolution, and where there is
but one resolution, between blocks, in quarters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from torch import nn
from torch.utils._pytree import tree_iter

from finetune_timm.recording import PICTURES_AXIS, Recording, Step, Value

QUARTERS = 4
FEWER = 0.6
"""A map with at most this share of the cells is another resolution."""
SMALL = 0.002
"""A stage has at least this share of the parameters; what is less belongs to the stage before it."""


@dataclass(frozen=True)
class Cut:
    """A cut before step ``at``, and the number of the value that is handed on there."""

    at: int
    value: int


@dataclass(frozen=True)
class Body:
    """The steps of a recording that are the body, all before ``end``, and what they come to.

    ``parameters`` are those of each step, by name, and ``sizes`` how many numbers each has.
    """

    recording: Recording
    end: int
    result: Value
    parameters: Sequence[frozenset[str]]
    sizes: Mapping[str, int]

    @property
    def steps(self) -> list[Step]:
        """The steps of the body."""
        return self.recording.steps[: self.end]

    @cached_property
    def shares(self) -> list[float]:
        """The share of the parameters that is before each step, and before the end."""
        sums, seen = [0], set[str]()
        for names in self.parameters[: self.end]:
            sums.append(sums[-1] + sum(self.sizes[name] for name in names - seen))
            seen |= names
        return [number / max(sums[-1], 1) for number in sums]


def parameters_by_step(recording: Recording, model: nn.Module) -> list[frozenset[str]]:
    """Return the names of the parameters that each step uses; one that modules share has the name of the first."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = []
    for step in recording.steps:
        own = step.names() & set(names.values())
        if isinstance(step.target, str):
            own |= {names[id(parameter)] for parameter in model.get_submodule(step.target).parameters()}
        found.append(frozenset(own))
    return found


def cuts(body: Body) -> list[Cut]:
    """Return the cuts between the stages, in order."""
    possible = possible_cuts(body)
    shapes = body.recording.shapes
    coarser = [
        cut
        for cut, following in pairwise(possible)
        if cells(shapes[following.value]) <= FEWER * cells(shapes[cut.value])
    ]
    chosen = _worthwhile(coarser, body.shares)
    return chosen if len(chosen) >= 2 else _with_quarters(chosen, possible, body)


def possible_cuts(body: Body) -> list[Cut]:
    """Return every cut that can be made within what the network calls its features, in order."""
    steps, shapes = body.steps, body.recording.shapes
    pictures = of_pictures(steps)
    last_use = {number: index for index, step in enumerate(steps) for number in step.needs()} | {
        body.result.number: len(steps)
    }
    last_user = {name: index for index, names in enumerate(body.parameters[: body.end]) for name in names}
    found: list[Cut] = []
    alive, parameters_until = {0}, 0
    for at, (step, names) in enumerate(zip(steps, body.parameters, strict=False), start=1):
        alive = {number for number in alive | set(step.results) & pictures if last_use.get(number, -1) >= at}
        parameters_until = max([parameters_until, *(last_user[name] for name in names)])
        if len(alive) == 1 and parameters_until < at < min(len(steps), body.recording.features_end):
            (value,) = alive
            if value and is_boundary(shapes[value]):
                found.append(Cut(at, value))
    return found


def of_pictures(steps: Sequence[Step]) -> set[int]:
    """Return the numbers of the values that the pictures have a part in."""
    found = {0}
    for step in steps:
        if step.needs() & found:
            found.update(step.results)
    return found


# ── shapes ──────────────────────────────────────────────────────────────────────────────────────────


def is_boundary(shape: tuple[int, ...]) -> bool:
    """Whether a value may be handed on: a map of square pictures, (N, C, h, h) or (N, h, h, C), or tokens (N, T, C)."""
    if shape[:1] != (PICTURES_AXIS,) or any(side <= 0 for side in shape[1:]):
        return False
    return len(shape) == 3 or (len(shape) == 4 and (shape[2] == shape[3] or shape[1] == shape[2]))


def is_channels_last(shape: tuple[int, ...]) -> bool:
    """Whether a map of square pictures is (N, h, h, C)."""
    return len(shape) == 4 and shape[1] == shape[2] != shape[3]


def cells(shape: tuple[int, ...]) -> int:
    """Return how many places of the picture a map or tokens have."""
    if len(shape) == 3:
        return shape[1]
    return shape[1] * shape[2] if is_channels_last(shape) else shape[2] * shape[3]


# ── choosing ────────────────────────────────────────────────────────────────────────────────────────


def _worthwhile(chosen: Sequence[Cut], shares: Sequence[float]) -> list[Cut]:
    """Leave out cuts that would leave next to nothing between them; only the first stage may be that small."""
    kept: list[Cut] = []
    for cut in chosen:
        before, least = (shares[kept[-1].at], SMALL) if kept else (0.0, 0.0)
        if shares[cut.at] - before > least and 1 - shares[cut.at] > SMALL:
            kept.append(cut)
    return kept


def _with_quarters(chosen: Sequence[Cut], possible: Sequence[Cut], body: Body) -> list[Cut]:
    """Return the cuts with those between the blocks of the heaviest stage, if it has enough of them."""
    edges = [0, *(cut.at for cut in chosen), body.end]
    start, end = max(pairwise(edges), key=lambda edge: body.shares[edge[1]] - body.shares[edge[0]])
    blocks = _blocks(body.steps, start, end)
    starts = [cut for cut in possible if cut.at in blocks and cut not in chosen]
    if len(starts) < QUARTERS:
        return list(chosen)
    quarters = [starts[len(starts) * number // QUARTERS] for number in range(QUARTERS)]
    return sorted([*chosen, *quarters], key=lambda cut: cut.at)


def _blocks(steps: Sequence[Step], start: int, end: int) -> set[int]:
    """Return which steps are repeated blocks: modules of the list that holds the most of them."""
    lists = {
        index: step.target.rpartition(".")[0]
        for index, step in enumerate(steps)
        if start <= index < end and isinstance(step.target, str) and "." in step.target
    }
    most = Counter(lists.values()).most_common(1)
    return {index for index, of in lists.items() if most and of == most[0][0]}


def only_value(result: object) -> Value | None:
    """Return the value that a result is, None for several or none."""
    leaves = list(tree_iter(result))
    return leaves[0] if len(leaves) == 1 and isinstance(leaves[0], Value) else None
