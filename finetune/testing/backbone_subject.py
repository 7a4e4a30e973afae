"""A backbone under test: built once, watched while it is built, and given life enough to be compared."""

from __future__ import annotations

import contextlib
import hashlib
import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from finetune.errors import FinetuneError, PluginError
from finetune.networks.network import BackboneModel, Network, assemble, build_backbone
from finetune.plugins import load_function
from finetune.run_folder import MODEL
from finetune.targets.to_onnx import to_onnx
from finetune.testing.backbone_tracing import Trace, trace_of
from finetune.testing.rules import Case, NotChecked, fault
from finetune.testing.watching import Watched, sheltered, watched
from finetune.types import Backbone
from finetune_export import Predictor
from finetune_export.contract import BackboneOrigin, Contract, DatasetOrigin, Preprocessing
from finetune_export.image import Pixels

SMALLEST_PX = 32
LABELS = ("ant", "bee", "wasp")
PICTURES = 3
SEED = 1
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True)
class Built:
    """What came of building a backbone: its network, or why there is none; and what was seen meanwhile."""

    model: BackboneModel | None
    problem: str
    watched: Watched
    digest: str = ""


@dataclass(frozen=True)
class BackboneSubject:
    """A backbone, and how to try it; what is expensive is made when it is first asked for, and kept.

    What cannot be had, for a fault that has a rule of its own, raises ``NotChecked`` with that rule's name.
    """

    backbone: Backbone
    case: Case

    @cached_property
    def image_size_px(self) -> int:
        """The case's size, or the smallest from 32 on that the backbone takes."""
        multiple = self.backbone.image_size_multiple_px
        smallest = max(self.backbone.min_image_size_px, SMALLEST_PX)
        return self.case.image_size_px or -(-smallest // multiple) * multiple

    @cached_property
    def built(self) -> Built:
        """The network as it is built from the seed, and what was seen meanwhile."""
        return self._build()

    @cached_property
    def built_again(self) -> Built:
        """What was seen when it was built from the seed once more, and all it needs had been imported; no network."""
        return replace(self._build(), model=None)

    def _build(self) -> Built:
        model, problem = None, ""
        with sheltered() as (called, _), contextlib.suppress(PluginError):  # which building raises again
            load_function(self.backbone.build, "it")  # what libraries do while they are imported is not its doing
        with watched(SEED) as seen:
            try:
                model = build_backbone(self.backbone, self.image_size_px)
            except BaseException as error:  # of the plugin's, whatever it is
                problem = fault(error)
        seen.called = (*called, *seen.called)
        return Built(model, problem, seen, digest_of(model.model.state_dict()) if model else "")

    def build_again(self, seed: int, image_size_px: int | None = None) -> BackboneModel:
        """Return the network once more, with torch's generator seeded; raises what building it raises."""
        _ = self.model
        with sheltered(seed), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return build_backbone(self.backbone, image_size_px or self.image_size_px)

    @property
    def model(self) -> BackboneModel:
        """What was built; once ``network`` was asked for, as lively as that."""
        if self.built.model is None:
            raise NotChecked("it cannot be built; see the rule 'builds'")
        return self.built.model

    @cached_property
    def headed(self) -> Network | str:
        """Its body under a head for three labels, in eval mode, as lively as a trained network; or why it has none."""
        model, images = self.model, self.pictures(8)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            try:
                network = assemble(model, len(LABELS), self.image_size_px)
                enliven(network, images)
            except BaseException as error:  # of the plugin's, whatever it is
                return fault(error)
        return network

    @property
    def network(self) -> Network:
        """The same; raises ``NotChecked`` where there is none."""
        if isinstance(self.headed, str):
            raise NotChecked("its stages take no head; see the rule 'takes-a-head'")
        return self.headed

    @property
    def body(self) -> nn.Sequential:
        """The stages of ``network``, one after the other."""
        return self.network.body

    @cached_property
    def images(self) -> Tensor:
        """Three drawn pictures, normalised: float32 (3, 3, S, S)."""
        return self.pictures(PICTURES)

    @cached_property
    def features(self) -> Tensor:
        """What the body makes of ``images``, in eval mode."""
        with torch.inference_mode():
            features: Tensor = self.body(self.images)
        return features

    @cached_property
    def left_out(self) -> set[str]:
        """The published network's tensors that are in no stage, by their published names."""
        staged = {id(tensor) for _, stage in self.model.stages for tensor in stage.state_dict(keep_vars=True).values()}
        published = self.model.model.state_dict(keep_vars=True)
        return {name for name, tensor in published.items() if id(tensor) not in staged}

    @cached_property
    def trace(self) -> Trace:
        """What the published network, as a whole and in eval mode, does with ``images``."""
        _ = self.network  # as lively as that
        whole = self.model.model.eval()
        try:
            return trace_of(whole, self.images, self.left_out)
        except BaseException as error:  # likewise
            raise NotChecked(f"its published network, as a whole, does not answer: {fault(error)}") from error

    def pictures(self, count: int) -> Tensor:
        """Return so many drawn pictures, normalised with the backbone's mean and std: float32 (N, 3, S, S)."""
        if problem := normalisation_problem(self.backbone):
            raise NotChecked(f"no picture can be normalised with {problem}; see the rule 'states-its-normalisation'")
        size = self.image_size_px
        photos = torch.from_numpy(np.stack([photo(seed, size, size) for seed in range(count)])).permute(0, 3, 1, 2)
        mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (self.backbone.mean, self.backbone.std))
        return (photos.float() / 255 - mean) / std

    @cached_property
    def photos(self) -> list[Pixels]:
        """Drawn pictures that are no squares of the network's size: uint8 (H, W, 3) each."""
        size = self.image_size_px
        return [photo(seed, size + 10, size + 20 * seed) for seed in range(PICTURES)]

    @cached_property
    def predictor(self) -> Predictor | str:
        """The network as the deployed model, opened by finetune-export; or in a line why there is none."""
        network, contract = self.network.eval(), self.contract
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / MODEL
            try:
                path.write_bytes(to_onnx(network, contract))
                return Predictor(path)
            except FinetuneError as error:
                return str(error).replace(f"{path}: ", "")

    @cached_property
    def contract(self) -> Contract:
        """The contract of a model with this backbone."""
        backbone = self.backbone
        return Contract(
            labels=LABELS,
            preprocessing=Preprocessing(
                image_size_px=self.image_size_px,
                crop_fraction=backbone.crop_fraction,
                mean=backbone.mean,
                std=backbone.std,
            ),
            backbone=BackboneOrigin(name=backbone.name, weights="none", licence=""),
            dataset=DatasetOrigin(
                name="noise", source="drawn", licence="", fingerprint="0" * 64, train_images=0, valid_images=0
            ),
            run_id="conformance",
            metrics={},
            versions={},
        )


def photo(seed: int, height: int, width: int) -> Pixels:
    """Draw a picture: patches of colour, with its own brightness and contrast, under noise; uint8 (H, W, 3)."""
    generator = np.random.default_rng([SEED, seed])
    patches = generator.uniform(0, 255, (5, 5, 3)) * generator.uniform(0.2, 1) + generator.uniform(-60, 60)
    image = Image.fromarray(patches.clip(0, 255).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    noise = generator.normal(0, 12, (height, width, 3))
    return (np.asarray(image) + noise).clip(0, 255).astype(np.uint8)


def enliven(network: Network, images: Tensor) -> None:
    """Bring a network of random weights near a trained one, in place, and leave it in eval mode.

    Its parameters move away from 0, where a branch could go missing unseen; batch norms get statistics with which
    signals neither fade nor explode, and rounding does not grow from layer to layer; the head gets opinions.
    """
    network.eval()
    with torch.no_grad():
        for parameter in network.body.parameters():
            is_flat = parameter.numel() and parameter.abs().max() < 1e-3
            parameter.add_(torch.randn_like(parameter), alpha=0.1 if is_flat else 0.01)
        norms = [module for module in network.body.modules() if isinstance(module, BATCH_NORMS)]
        hooks = [norm.register_forward_pre_hook(_take_scale) for norm in norms]
        try:
            network.body(images)
        finally:
            for hook in hooks:
                hook.remove()
        weight = next(parameter for parameter in network.head.parameters() if parameter.ndim == 2)  # (K, D)
        weight.normal_(std=weight.shape[1] ** -0.5)


def _take_scale(norm: nn.Module, given: tuple[Tensor, ...]) -> None:
    if isinstance(norm.running_mean, Tensor) and isinstance(norm.running_var, Tensor):
        norm.running_mean.zero_()
        norm.running_var.fill_(given[0].square().mean())


def normalisation_problem(backbone: Backbone) -> str:
    """Return what is wrong with mean and std of a backbone, '' where nothing is."""
    for name, values in (("mean", backbone.mean), ("std", backbone.std)):
        numbers = isinstance(values, tuple) and all(isinstance(value, int | float) for value in values)
        if not numbers or len(values) != 3 or not all(0 <= value <= 1 for value in values):
            return f"{name}={values!r}"
        if name == "std" and not min(values):
            return f"{name}={values!r}"
    return ""


def digest_of(state: Mapping[str, Tensor]) -> str:
    """Return a hash of every tensor of a state dict, with its name."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """Return a network's state dict as publishers write it to a file: tensors that share nothing."""
    return {key: tensor.detach().clone().contiguous() for key, tensor in model.state_dict().items()}
