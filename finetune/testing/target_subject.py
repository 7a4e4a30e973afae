"""A target under test: asked for an artifact as a run asks it, and watched meanwhile."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.config import RunConfig
from finetune.errors import FinetuneError, PluginError
from finetune.networks.network import Network
from finetune.plugins import Plugins, load_function
from finetune.reporting import SILENT
from finetune.testing.folders import new_folder
from finetune.testing.rules import Case, NotChecked, fault
from finetune.testing.target_training import Trained, trained
from finetune.testing.watching import Watched, sheltered, watched
from finetune.types import Artifact, ExportRequest, ExportTarget, Task, Verification
from finetune.verification import verify

SEED = 1
FOLDER = "unverified"


@dataclass(frozen=True)
class Exported:
    """What came of one export.

    ``artifact`` is what the target returned, None where it failed, for ``problem``; ``refused`` is whether it said so
    in an error for its user. ``seen`` is what it did meanwhile, ``network_changes`` what it changed of the network,
    ``touched`` which of the files that it was given.
    """

    folder: Path
    artifact: Any
    problem: str
    refused: bool
    seen: Watched
    network_changes: str
    touched: tuple[str, ...]


@dataclass(frozen=True)
class TargetSubject:
    """A target, and how to try it; what is expensive is made when it is first asked for, and kept."""

    target: ExportTarget
    plugins: Plugins
    case: Case

    def exported(self, task: Task = "single-label") -> Exported:
        """Return what came of the export of the model of a task; it is exported once."""
        if task not in self._exports:
            self._exports[task] = self._export(task)
        return self._exports[task]

    @cached_property
    def _exports(self) -> dict[Task, Exported]:
        return {}

    @cached_property
    def again(self) -> Exported:
        """What came of a second export of the single-label model, when all it needs had been imported."""
        _ = self.exported()
        return self._export("single-label")

    def artifact(self, task: Task = "single-label") -> Artifact:
        """Return the artifact of a task; raises ``NotChecked`` where there is none."""
        artifact = self.exported(task).artifact
        if not isinstance(artifact, Artifact):
            raise NotChecked("there is no artifact; see the rule 'exports'")
        return artifact

    @cached_property
    def answers(self) -> NDArray[np.float32]:
        """What the artifact answers to all validation pictures of the single-label model."""
        artifact = self.artifact()
        try:
            return artifact.answers(self.trained().valid)
        except BaseException as error:  # of the plugin's, whatever it is
            fault(error)
            raise NotChecked("it does not answer; see the rule 'answers'") from error

    def trained(self, task: Task = "single-label") -> Trained:
        """Return the model of a task that was trained for this process."""
        return trained(task)

    def _export(self, task: Task) -> Exported:
        """Export the model of a task, into a folder of its own."""
        model = self.trained(task)
        network = model.network(self.plugins)
        request = self._request(model, network)
        before, files = (
            state_of(network),
            contents((*request.training_images, *([request.onnx] if request.onnx else []))),
        )
        artifact, problem, refused = None, "", False
        with sheltered() as (called, _), contextlib.suppress(PluginError):  # which loading it again raises, too
            load_function(self.target.export, "it")  # what libraries do while they are imported is not its doing
        with watched(SEED) as seen:
            try:
                artifact = load_function(self.target.export, f"The target '{self.target.name}'")(request)
            except BaseException as error:  # of the plugin's, whatever it is
                problem, refused = fault(error), isinstance(error, FinetuneError)
        seen.called = (*called, *seen.called)
        after = contents(files)
        return Exported(
            folder=request.folder,
            artifact=artifact,
            problem=problem,
            refused=refused,
            seen=seen,
            network_changes=next((name for name, value in state_of(network).items() if value != before.get(name)), ""),
            touched=tuple(path.name for path, content in files.items() if after[path] != content),
        )

    def _request(self, model: Trained, network: Network) -> ExportRequest:
        root = new_folder()
        (root / FOLDER).mkdir()
        onnx, *training = (Path(shutil.copy(path, root)) for path in (model.onnx, *model.train))  # it may damage them
        return ExportRequest(
            network=network,
            contract=model.contract,
            folder=root / FOLDER,
            onnx=None if self.target.name == "onnx" else onnx,
            training_images=tuple(training),
            judge=self.judge(model, network),
            note=SILENT.note,
        )

    def judge(self, model: Trained, network: Network) -> Callable[[Artifact], Verification]:
        """Return what compares an artifact with the network, as the target's facts say, from file to answer."""
        reference = model.reference(network)

        def judged(artifact: Artifact) -> Verification:
            allowed = RunConfig.max_drop
            return verify(artifact, self.target, model.valid, model.targets, reference, model.contract, allowed)

        return judged


def state_of(network: Network) -> Mapping[str, Any]:
    """Return everything of a network that an export has to leave as it is, by what it is called."""
    tensors = {f"the tensor '{name}'": tensor.numpy().tobytes() for name, tensor in network.state_dict().items()}
    modes = {f"the mode of '{name}'": module.training for name, module in network.named_modules()}
    learning = {f"requires_grad of '{name}'": p.requires_grad for name, p in network.named_parameters()}
    classes = {f"the class of '{name}'": type(module) for name, module in network.named_modules()}
    return {**tensors, **modes, **learning, **classes}


def contents(paths: Any) -> dict[Path, bytes | None]:
    """Return the bytes of files, None for one that is gone."""
    return {path: path.read_bytes() if path.is_file() else None for path in paths}
