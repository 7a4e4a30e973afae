"""What a network does to pictures, step by step, as its own code does it: one recording, made without any numbers.

The code runs on the meta device, once each with two and with three pictures, while every call of a torch function
and of a module is written down. A module is one step, whatever it does inside, and stays the module that it is; only
``nn.Sequential`` is looked into. Sizes that depend on the number of pictures are told by comparing the two runs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_iter, tree_map, tree_unflatten

PICTURES = (2, 3)
"""How many pictures the two runs are made with."""
PICTURES_AXIS, VARYING = -1, -2


class NotRecordedError(Exception):
    """The network's code does something that cannot be written down as steps; the text says what."""


@dataclass(frozen=True)
class Value:
    """The result of a step, by its number; 0 is the pictures."""

    number: int


@dataclass(frozen=True)
class Own:
    """A parameter or buffer of the network, by its name."""

    name: str


@dataclass(frozen=True)
class Pictures:
    """A size that depends on the number of pictures: so many times as large."""

    times: int


@dataclass(frozen=True)
class Step:
    """One call: a torch function, or a module by its name; tensors in its arguments are ``Value`` and ``Own``.

    ``results`` are the numbers of the tensors that it returns, in the order of ``torch.utils._pytree``, whose
    structure ``form`` describes.
    """

    target: Callable[..., Any] | str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: tuple[int, ...]
    form: Any

    def needs(self) -> set[int]:
        """Return the numbers of the values that it takes."""
        return {leaf.number for leaf in tree_iter((self.args, self.kwargs)) if isinstance(leaf, Value)}

    def names(self) -> set[str]:
        """Return the names of the parameters and buffers that it takes as arguments."""
        return {leaf.name for leaf in tree_iter((self.args, self.kwargs)) if isinstance(leaf, Own)}


@dataclass
class Recording:
    """All steps in order, the shapes of their values, and which of them are the features and the answer to a head.

    A shape has ``PICTURES_AXIS`` for an axis that is as long as there are pictures, and ``VARYING`` for one that
    depends on it. ``features_end`` counts the steps up to the features.
    """

    steps: list[Step] = field(default_factory=list)
    shapes: dict[int, tuple[int, ...]] = field(default_factory=dict)
    features_end: int = 0
    features: Any = None
    vector: Any = None


def record(model: nn.Module, image_size_px: int, apart: Sequence[str]) -> Recording:
    """Return what the network's ``forward_features`` and then ``forward_head(…, pre_logits=True)`` do.

    ``apart`` are the names of modules that are not to become part of a step with others: its classifiers.

    Raises ``NotRecordedError`` for code that is more than steps.
    """
    stand_in = without_numbers(model)
    first, second = (_one_run(stand_in, pictures, image_size_px, apart) for pictures in PICTURES)
    if len(first.steps) != len(second.steps):
        raise NotRecordedError("what it does depends on the number of pictures")
    first.steps = [_merged(one, other) for one, other in zip(first.steps, second.steps, strict=True)]
    first.shapes = {number: _merged_shape(shape, second.shapes[number]) for number, shape in first.shapes.items()}
    return first


def without_numbers(model: nn.Module) -> nn.Module:
    """Return a copy of a network on the meta device, in eval mode, without copying any number."""
    memo: dict[int, Any] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        stand_in = tensor.detach().to("meta")
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(stand_in, requires_grad=False) if is_parameter else stand_in
    return copy.deepcopy(model, memo).eval()


def _one_run(model: Any, pictures: int, image_size_px: int, apart: Sequence[str]) -> Recording:
    recorder = Recorder(model, torch.empty(pictures, 3, image_size_px, image_size_px, device="meta"))
    try:
        with recorder.listening(apart), torch.no_grad(), recorder:
            features = model.forward_features(recorder.images)
            recorder.recording.features_end = len(recorder.recording.steps)
            vector = model.forward_head(features, pre_logits=True)
    except NotRecordedError:
        raise
    except Exception as error:  # a network of another's making fails in ways that no list foresees
        raise NotRecordedError(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error
    recorder.recording.features = recorder.templated(features)
    recorder.recording.vector = recorder.templated(vector)
    return recorder.recording


class Recorder(TorchFunctionMode):
    """Writes down every torch function that is called while it is entered, and the calls of a network's modules."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        super().__init__()
        self.model = model
        self.images = images
        self.recording = Recording()
        self._own = {id(tensor): name for name, tensor in (*model.named_parameters(), *model.named_buffers())}
        self._known: dict[int, Value] = {}
        self._alive: list[Tensor] = []  # as long as a tensor lives, no other has its id
        self._inside = 0
        self._number_of(images)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the function, and write it down unless a module does it or no tensor comes of it."""
        given = dict(kwargs or {})
        if self._inside:
            return func(*args, **given)
        before = self.templated((args, given))  # what is changed in place is another value afterwards
        result = func(*args, **given)
        if func is Tensor.__setitem__:
            raise NotRecordedError("it assigns to a part of a tensor")
        if any(isinstance(leaf, Tensor) for leaf in tree_iter(result)):
            self._write(func, before, result)
        return result

    def listening(self, apart: Sequence[str]) -> ExitStack:
        """Return a context in which the calls of the network's outermost modules are written down."""
        hooks = ExitStack()
        for name, module in outermost(self.model, apart):
            hooks.enter_context(module.register_forward_pre_hook(self._on_entry, with_kwargs=True))
            hooks.enter_context(module.register_forward_hook(self._on_exit(name), with_kwargs=True))
        return hooks

    def _on_entry(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._inside += 1
        if self._inside == 1:
            self._before = self.templated((args, kwargs))

    def _on_exit(self, name: str) -> Callable[..., None]:
        def written(_module: nn.Module, _args: Any, _kwargs: Any, result: Any) -> None:
            self._inside -= 1
            if not self._inside:
                self._write(name, self._before, result)

        return written

    def _write(self, target: Callable[..., Any] | str, before: Any, result: Any) -> None:
        leaves, form = tree_flatten(result)
        results = tuple(self._number_of(leaf) if isinstance(leaf, Tensor) else -1 for leaf in leaves)
        args, kwargs = before
        self.recording.steps.append(Step(target, args, kwargs, results, form))

    def _number_of(self, tensor: Tensor) -> int:
        value = Value(len(self._alive))
        self._alive.append(tensor)
        self._known[id(tensor)] = value
        self.recording.shapes[value.number] = tuple(tensor.shape)
        return value.number

    def templated(self, given: Any) -> Any:
        """Return a structure with ``Value`` and ``Own`` in place of tensors."""
        return tree_map(lambda leaf: self._reference(leaf) if isinstance(leaf, Tensor) else leaf, given)

    def _reference(self, tensor: Tensor) -> Value | Own:
        if id(tensor) in self._known:
            return self._known[id(tensor)]
        if id(tensor) in self._own:
            return Own(self._own[id(tensor)])
        raise NotRecordedError("it uses a tensor that is neither computed nor part of its state")


def outermost(model: nn.Module, apart: Sequence[str], prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that are one step each, by name.

    Looked into, instead, are ``nn.Sequential`` and lists, and what holds one of the modules that are kept ``apart``.
    """
    for child, module in model.named_children():
        name = prefix + child
        if type(module) in (nn.Sequential, nn.ModuleList, nn.ModuleDict) or any(
            other.startswith(f"{name}.") for other in apart
        ):
            yield from outermost(module, apart, f"{name}.")
        else:
            yield name, module


def _merged(one: Step, other: Step) -> Step:
    """Return the first step with ``Pictures`` for every size that depends on how many there are."""
    if one.target != other.target or one.results != other.results:
        raise NotRecordedError("what it does depends on the number of pictures")
    leaves, form = tree_flatten((one.args, one.kwargs))
    others, other_form = tree_flatten((other.args, other.kwargs))
    if form != other_form:
        raise NotRecordedError("what it does depends on the number of pictures")
    args, kwargs = tree_unflatten([_merged_leaf(a, b) for a, b in zip(leaves, others, strict=True)], form)
    return Step(one.target, args, kwargs, one.results, one.form)


def _merged_leaf(one: Any, other: Any) -> Any:
    if type(one) is int and one != other:
        times, rest = divmod(one, PICTURES[0])
        if rest or times * PICTURES[1] != other:
            raise NotRecordedError(f"a size is {one} for {PICTURES[0]} pictures and {other} for {PICTURES[1]}")
        return Pictures(times)
    if isinstance(one, slice):
        return slice(*(_merged_leaf(getattr(one, part), getattr(other, part)) for part in ("start", "stop", "step")))
    if one is not other and one != other:
        raise NotRecordedError("what it does depends on the number of pictures")
    return one


def _merged_shape(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(
        a if a == b else PICTURES_AXIS if (a, b) == PICTURES else VARYING for a, b in zip(one, other, strict=True)
    )
