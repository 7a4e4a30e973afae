"""What a backbone's body answers: alike alone and in company, alike each time, from a weight file and from ONNX."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from finetune.errors import FinetuneError
from finetune.networks.network import assemble, make_body
from finetune.networks.weight_files import serialised
from finetune.networks.weights import load_network, load_weights
from finetune.targets.to_onnx import Deployed
from finetune.testing.backbone_subject import LABELS, SEED, BackboneSubject, plain_state
from finetune.testing.rules import Broken, NotChecked, Rule
from finetune_export import Predictor
from finetune_export.image import read_pixels

SLACK = 1e-4
"""By how much two ways of computing the same may differ: of the largest number for features, as it is for answers."""


def _gives_features(subject: BackboneSubject) -> None:
    for count in (1, 3):
        features = _features(subject.body, subject.pictures(count))
        if features.shape != (count, *subject.features.shape[1:]):
            raise Broken(f"{tuple(features.shape)} for N = {count}, {tuple(subject.features.shape)} for N = 3")


def _gives_finite_numbers(subject: BackboneSubject) -> None:
    noise = subject.images
    for name, images in (("noise", noise), ("an even grey", torch.zeros_like(noise)), ("strong noise", 3 * noise)):
        if not _features(subject.body, images).isfinite().all():
            raise Broken(f"numbers that are not finite for {name}")


def _sees_each_picture_alone(subject: BackboneSubject) -> None:
    alone = torch.cat([_features(subject.body, image[None]) for image in subject.images])
    apart = _apart(alone, subject.features)
    if not apart <= SLACK:
        raise Broken(f"features that differ by {apart:.0e} of the largest number in a batch of {len(alone)}")


def _is_pure_when_frozen(subject: BackboneSubject) -> None:
    """Frozen as training does it: in training mode as a whole, and then every stage in eval mode."""
    body = subject.body
    before = {name: buffer.clone() for name, buffer in body.named_buffers()}
    body.train()
    for stage in body:
        stage.eval()
    first, second = (_features(body, subject.images) for _ in range(2))
    changed = [name for name, buffer in body.named_buffers() if not torch.equal(buffer, before[name])]
    subject.network.eval()
    for name, buffer in body.named_buffers():
        buffer.copy_(before[name])
    if changed:
        raise Broken(f"that '{changed[0]}' changes while it is frozen")
    if not torch.equal(first, second):
        raise Broken("other features the second time")


def _comes_back_from_its_file(subject: BackboneSubject) -> None:
    expected = _features(subject.network, subject.images)
    again = subject.build_again(SEED + 1)
    network = assemble(again, len(LABELS), subject.image_size_px).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        path.write_bytes(serialised(subject.network, licence="none"))
        load_network(network, path)
        if not torch.equal(_features(network, subject.images), expected):
            raise Broken("other answers from the same weights")


def _takes_published_weights(subject: BackboneSubject) -> None:
    again = subject.build_again(SEED + 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "published.safetensors"
        save_file(plain_state(subject.model.model), path)
        try:
            load_weights(again, subject.backbone, str(path))
        except FinetuneError as error:
            raise Broken(str(error).replace(str(path), "the file")) from error
    if not torch.equal(_features(make_body(again).eval(), subject.images), subject.features):
        raise Broken("other features from the same weights")


# ── ONNX ────────────────────────────────────────────────────────────────────────────────────────────


def _becomes_onnx(subject: BackboneSubject) -> None:
    if isinstance(subject.predictor, str):
        raise Broken(subject.predictor)


def _answers_alike_as_onnx(subject: BackboneSubject) -> None:
    pixels = np.stack([read_pixels(photo, subject.contract.preprocessing) for photo in subject.photos])
    with torch.inference_mode():
        expected = Deployed(subject.network, subject.contract)(torch.from_numpy(pixels))[0].numpy()
    apart = float(np.abs(_predictor(subject).answers(subject.photos) - expected).max())
    if not apart <= SLACK:
        raise Broken(f"probabilities that differ by {apart:.0e}")


def _takes_any_batch_as_onnx(subject: BackboneSubject) -> None:
    predictor = _predictor(subject)
    alone, together = (predictor.answers(subject.photos, batch_size=size) for size in (1, len(subject.photos)))
    apart = float(np.abs(alone - together).max())
    if not apart <= SLACK:
        raise Broken(f"probabilities that differ by {apart:.0e} between batches of 1 and {len(alone)}")


def _predictor(subject: BackboneSubject) -> Predictor:
    if isinstance(subject.predictor, str):
        raise NotChecked("it does not become an ONNX file; see the rule 'becomes-onnx'")
    return subject.predictor


# ── comparing ───────────────────────────────────────────────────────────────────────────────────────


def _features(body: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        features: Tensor = body(images)
    return features


def _apart(first: Tensor, second: Tensor) -> float:
    """Return the largest difference, in units of the largest number."""
    if first.shape != second.shape:
        return float("inf")
    return float((first - second).abs().max() / second.abs().max().clamp_min(1e-30))


_rule = partial(Rule, kind="backbone")
_MODEL = "finetune.networks.network.BackboneModel"
_FROZEN = "finetune.training.learner.callbacks.PretrainedInEval"
_ONNX = "finetune.targets.to_onnx"

RULES = (
    _rule(
        name="gives-features",
        expects="features of the same shape for every number of pictures",
        read=_MODEL,
        hold=_gives_features,
    ),
    _rule(name="gives-finite-numbers", expects="finite features", read=_MODEL, hold=_gives_finite_numbers),
    _rule(
        name="sees-each-picture-alone",
        expects="features of a picture that do not depend on the others of its batch",
        read=_MODEL,
        hold=_sees_each_picture_alone,
    ),
    _rule(
        name="is-pure-when-frozen",
        expects="stages in eval mode that give the same, bit for bit, each time, and change nothing of their own",
        read=_FROZEN,
        hold=_is_pure_when_frozen,
    ),
    _rule(
        name="comes-back-from-its-file",
        expects="the same answers, bit for bit, once its weights went through weights.safetensors",
        read="finetune.networks.weights.load_network",
        hold=_comes_back_from_its_file,
    ),
    _rule(
        name="takes-published-weights",
        expects="adapt_weights to leave weights alone that fit already, so that they give the same features",
        read=_MODEL,
        hold=_takes_published_weights,
    ),
    _rule(
        name="becomes-onnx",
        expects="one ONNX file that finetune-export opens",
        read=_ONNX,
        hold=_becomes_onnx,
    ),
    _rule(
        name="answers-alike-as-onnx",
        expects=f"the network's probabilities from the ONNX file, within {SLACK}",
        read=_ONNX,
        hold=_answers_alike_as_onnx,
    ),
    _rule(
        name="takes-any-batch-as-onnx",
        expects=f"the same probabilities from the ONNX file in any batch, within {SLACK}",
        read=_ONNX,
        hold=_takes_any_batch_as_onnx,
    ),
)
"""What a backbone's answers are held against."""
