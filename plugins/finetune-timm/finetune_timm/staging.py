"""From recorded steps to modules: each stage a ``torch.fx.GraphModule`` that holds the network's own modules."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import TreeSpec, tree_map

from finetune_timm.cutting import Body, Cut, is_channels_last, of_pictures
from finetune_timm.recording import Own, Pictures, Recording, Step, Value


def stages_of(model: nn.Module, body: Body, cuts: Sequence[Cut]) -> list[nn.Module]:
    """Return the steps of a body as modules that hold the network's own, one from each cut to the next.

    A map that is handed on is (N, C, h, w), even where the network works on (N, h, w, C).
    """
    starts = [Cut(0, 0), *cuts]
    ends = [*cuts, Cut(body.end, body.result.number)]
    return [_Writer(model, body.recording, start, end).module() for start, end in zip(starts, ends, strict=True)]


class _Writer:
    """Writes the steps from a cut up to another as a graph, with what they need of the steps before."""

    def __init__(self, model: nn.Module, recording: Recording, start: Cut, end: Cut) -> None:
        self.model = model
        self.recording = recording
        self.start, self.end = start, end
        self.graph = fx.Graph()
        self._nodes: dict[int, fx.Node] = {}
        self._own: dict[str, fx.Node] = {}
        self._makers = {number: step for step in recording.steps for number in step.results}

    def module(self) -> fx.GraphModule:
        """Return the stage."""
        self.given = self.graph.placeholder("features" if self.start.value else "images")
        self._nodes[self.start.value] = self._turned(self.given, self.start.value, (0, 2, 3, 1))
        pictures = of_pictures(self.recording.steps)
        for step in self.recording.steps[self.start.at : self.end.at]:
            if set(step.results) & pictures:
                self._write(step)
        self.graph.output(self._turned(self._node(self.end.value), self.end.value, (0, 3, 1, 2)))
        return fx.GraphModule(self.model, self.graph, "Stage")

    def _turned(self, node: fx.Node, number: int, axes: tuple[int, ...]) -> fx.Node:
        if number and is_channels_last(self.recording.shapes[number]):
            return self.graph.call_method("permute", (node, *axes))
        return node

    def _node(self, number: int) -> fx.Node:
        if number not in self._nodes:  # made of the network's own tensors alone, by a step of an earlier stage
            self._write(self._makers[number])
        return self._nodes[number]

    def _write(self, step: Step) -> None:
        args, kwargs = tree_map(self._argument, (step.args, step.kwargs))
        call = self._call(step.target, args, kwargs)
        for path, number in zip(_paths(step.form), step.results, strict=True):
            if number >= 0:
                self._nodes[number] = self._item(call, path)

    def _call(self, target: Callable[..., Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> fx.Node:
        if isinstance(target, str):
            return self.graph.call_module(target, args, kwargs)
        if getattr(target, "__name__", "") == "__get__":
            return self.graph.call_function(getattr, (args[0], target.__self__.__name__))  # type: ignore[attr-defined]
        if getattr(Tensor, getattr(target, "__name__", ""), None) is target:
            return self.graph.call_method(target.__name__, args, kwargs)
        return self.graph.call_function(target, args, kwargs)

    def _item(self, node: fx.Node, path: tuple[Any, ...]) -> fx.Node:
        for key in path:
            node = self.graph.call_function(operator.getitem, (node, key))
        return node

    def _argument(self, leaf: Any) -> Any:
        if isinstance(leaf, Value):
            return self._node(leaf.number)
        if isinstance(leaf, Own):
            if leaf.name not in self._own:
                self._own[leaf.name] = self.graph.get_attr(leaf.name)
            return self._own[leaf.name]
        if isinstance(leaf, Pictures):
            return self._pictures(leaf.times)
        if isinstance(leaf, slice):
            return slice(self._argument(leaf.start), self._argument(leaf.stop), self._argument(leaf.step))
        if isinstance(leaf, torch.device):
            return self.graph.call_function(getattr, (self.given, "device"))
        return leaf

    def _pictures(self, times: int) -> fx.Node:
        size = self.graph.call_method("size", (self.given, 0))
        return size if times == 1 else self.graph.call_function(operator.mul, (size, times))


def _paths(form: TreeSpec) -> list[tuple[Any, ...]]:
    """Return where each leaf of a result stands in it."""
    if form.is_leaf():
        return [()]
    keys = form.context if form.type is dict else range(len(form.children()))
    return [(key, *rest) for key, child in zip(keys, form.children(), strict=True) for rest in _paths(child)]
