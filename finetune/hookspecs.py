"""The hooks a plugin may implement: this file is the contract between finetune and its plugins.

A plugin is an installed distribution with an entry point in the group ``finetune`` that names a *light* module
(no torch at import). In it, mark functions with ``hookimpl`` and give them the names below; an implementation
may leave out arguments that it does not need. Built-ins register through the same hooks.

    from finetune.hookspecs import hookimpl
    from finetune.types import DatasetSpec, Source

    @hookimpl
    def finetune_register_datasets(register):
        source = Source(name="web", summary="Where the pictures come from.")
        register(DatasetSpec(name="pets", summary="What they show.", sources=(source,), load="my_pets.data:load"))

``load`` is given a ``DatasetRequest`` and returns a ``Dataset``, whose ``task`` says what its examples have, and whose
``labels`` are the order of the outputs:

    Example(path=path, label="cat")                      # task="single-label", of labels=("cat", "dog")
    Example(path=path, labels=("sunny", "windy"))        # task="multi-label"; labels=() where none is right
    Example(path=path, values=(4.5, 61.0))               # task="regression", of labels=("age", "weight")

Each may have a ``part`` ('train', 'valid', 'test') where the data set is divided already, and a ``group``, such as the
patient, which is never divided. A source says what its users may ask for: with ``accepts_data`` the request may have
``data``, their own copy; with ``accepts_name`` a ``name``, under which the set is published; with ``has_columns`` its
``columns`` count: the task, and which columns hold pictures, labels, parts and groups. All are in ``finetune.types``.

This contract has a version of its own, ``API_VERSION``. A plugin's module says which one it needs, as
``FINETUNE_API = "1.0"``; one that needs a newer one, or was written for an older major one, is set aside with the way
out. One that says nothing is taken as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from finetune.types import Backbone, Command, DatasetSpec, ExportTarget, Metric, ReportSection, TrainingCallback

PROJECT = "finetune"
"""The pluggy project name, and the entry-point group that plugins publish themselves in."""

API_VERSION = "1.0"
"""The version of this contract: the minor one grows with what is added, the major one where a promise is broken."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


def deprecated(*, old: str, new: str, until: str) -> DeprecationWarning:
    """Return the warning for ``hookspec(warn_on_impl=…)`` or, by argument, for ``hookspec(warn_on_impl_args=…)``.

    ``old`` and ``new`` are code as plugins have it and should have it; ``until`` is the API version in which the old
    one goes. Whoever implements it is told by ``finetune plugins``.
    """
    return DeprecationWarning(f"`{old}` goes in plugin API {until}; write `{new}` instead")


@hookspec
def finetune_register_datasets(register: Callable[[DatasetSpec], None]) -> None:
    """Offer data sets: call ``register`` once for each.

    Called once when plugins are loaded, each plugin by itself. Do not read pictures or reach the network here;
    ``DatasetSpec.load`` does that when the data set is asked for. A name that is taken sets the plugin aside.
    Since 0.1.
    """


@hookspec
def finetune_register_backbones(register: Callable[[Backbone], None]) -> None:
    """Offer backbones: call ``register`` once for each.

    Called once when plugins are loaded, each plugin by itself. Do not import torch here; ``Backbone.build`` is
    imported when the backbone is asked for. A name that is taken sets the plugin aside. Since 0.1.
    """


@hookspec
def finetune_register_targets(register: Callable[[ExportTarget], None]) -> None:
    """Offer export targets: call ``register`` once for each.

    Called once when plugins are loaded, each plugin by itself. What ``ExportTarget.export`` writes counts only
    after it was compared with the trained network, from picture file to answer. A name that is taken sets the
    plugin aside. Since 0.1.
    """


@hookspec
def finetune_register_metrics(register: Callable[[Metric], None]) -> None:
    """Offer metrics: call ``register`` once for each.

    Called once when plugins are loaded, each plugin by itself. ``Metric.measure`` is called where ``--metric`` names
    the metric, and once per epoch where ``--monitor`` does. A name that is taken sets the plugin aside. Since 0.1.
    """


@hookspec
def finetune_register_callbacks(register: Callable[[TrainingCallback], None]) -> None:
    """Offer callbacks of fastai's, which take part in training where ``--callback`` names them.

    Called once when plugins are loaded, each plugin by itself. Do not import fastai here; ``TrainingCallback.build``
    is imported when the callback is asked for. A name that is taken sets the plugin aside. Since 0.1.
    """


@hookspec
def finetune_register_sections(register: Callable[[ReportSection], None]) -> None:
    """Offer sections of the report that a run ends with: call ``register`` once for each, in their order.

    Called once when plugins are loaded, each plugin by itself. ``ReportSection.build`` is called for every run, and
    returns nothing where it has nothing to say. A name that is taken sets the plugin aside. Since 0.1.
    """


@hookspec
def finetune_register_commands(register: Callable[[Command], None]) -> None:
    """Offer commands, ``finetune NAME``: call ``register`` once for each.

    Called once when plugins are loaded, each plugin by itself. ``Command.run`` is imported when the command is typed.
    A name that is taken, by one of finetune's own commands as well, sets the plugin aside. Since 0.1.
    """
