"""How a backbone is built and cut: stages that are the published network up to its head, each in its place."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from finetune.errors import PluginError
from finetune.networks.network import make_body, original_keys
from finetune.plugins.calling import reason
from finetune.testing.backbone_subject import SEED, BackboneSubject, digest_of
from finetune.testing.backbone_tracing import is_reading
from finetune.testing.rules import Broken, NotChecked, Rule
from finetune.testing.watching import changes, first_line

MOST_HEAD_LAYERS = 3
"""So many layers with tensors may follow the stages on a map or tokens that were not pooled: a norm, a classifier."""


# ── building ────────────────────────────────────────────────────────────────────────────────────────


def _builds(subject: BackboneSubject) -> None:
    built = subject.built
    if built.watched.called:
        raise Broken(f"that it asks for {', '.join(built.watched.called)}")
    if built.model is None:
        raise Broken(built.problem)


def _builds_in_silence(subject: BackboneSubject) -> None:
    _ = subject.model
    seen = subject.built.watched
    if printed := first_line(seen.stdout + seen.stderr):
        raise Broken(f"'{printed}'")


def _leaves_the_process_alone(subject: BackboneSubject) -> None:
    _ = subject.model
    if changed := changes(subject.built.watched, subject.built_again.watched):
        raise Broken(f"that it changes {', '.join(changed)}")


def _starts_from_the_seed(subject: BackboneSubject) -> None:
    _ = subject.model
    first = subject.built.digest
    if problem := subject.built_again.problem:
        raise Broken(f"{problem} for the second network")
    if subject.built_again.digest != first:
        raise Broken("other weights for the same seed")
    if digest_of(subject.build_again(SEED + 1).model.state_dict()) == first:
        raise Broken("the same weights for another seed")


# ── stages ──────────────────────────────────────────────────────────────────────────────────────────


def _has_several_stages(subject: BackboneSubject) -> None:
    if len(subject.model.stages) == 1:
        raise NotChecked("it has a single stage, which is frozen or learns as a whole; --unfreeze counts stages")


def _each_parameter_in_one_stage(subject: BackboneSubject) -> None:
    owners: dict[int, str] = {}
    for stage, module in subject.model.stages:
        for name, parameter in module.named_parameters():
            if id(parameter) in owners:
                raise Broken(f"'{name}' of the stage '{stage}' in the stage '{owners[id(parameter)]}' as well")
        owners |= {id(parameter): stage for parameter in module.parameters()}


def _has_published_keys(subject: BackboneSubject) -> None:
    try:
        original_keys(subject.model)
    except PluginError as error:
        raise Broken(reason(error)) from error


def _takes_a_head(subject: BackboneSubject) -> None:
    if isinstance(subject.headed, str):
        raise Broken(subject.headed)


def _leaves_out_the_head_only(subject: BackboneSubject) -> None:
    trace, left_out = subject.trace, subject.left_out
    used = [name for name in trace.first if name in left_out]
    last = max((name for name in trace.last if name not in left_out), key=trace.last.__getitem__, default=None)
    if used and last and trace.first[used[0]] < trace.last[last]:
        raise Broken(f"'{used[0]}' in no stage, which the published network uses before '{last}'")
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in used))
    given = trace.given[0] if trace.given else None
    is_unpooled = given is not None and given.ndim == subject.features.ndim > 2
    if is_unpooled and len(layers) > MOST_HEAD_LAYERS:
        raise Broken(f"{len(layers)} layers in no stage, from '{layers[0]}' on, which is given what is not pooled yet")


def _computes_the_published_features(subject: BackboneSubject) -> None:
    trace = subject.trace
    is_headless = not subject.left_out.intersection(trace.first)
    output = trace.output if isinstance(trace.output, Tensor) else None
    alike = is_reading(subject.features, [output] if is_headless else trace.given)
    if alike is None:
        raise NotChecked("what its published head is given is not the size of its features, pooled or not")
    if not alike:
        raise Broken("other numbers than the published network's head is given, pooled or not")


def _hands_on_tensors(subject: BackboneSubject) -> None:
    model = subject.model
    for count in (1, 3):
        handed_on = subject.pictures(count)
        for number, (name, stage) in enumerate(model.stages, start=1):
            with torch.inference_mode():
                handed_on = stage.eval()(handed_on)
            turned = model.channels_last and number < len(model.stages)
            if problem := _form_problem(handed_on, count, (1, 2) if turned else (2, 3)):
                raise Broken(f"{problem} from the stage '{name}', for N = {count} square pictures")


def _form_problem(output: object, count: int, axes: tuple[int, int]) -> str:
    """Return what is wrong with what a stage hands on, '' where nothing is; ``axes`` are those of a map's cells."""
    if not isinstance(output, Tensor):
        return type(output).__name__
    shape = tuple(output.shape)
    if output.dtype != torch.float32 or len(shape) not in (2, 3, 4) or shape[0] != count or not output.numel():
        return f"{str(output.dtype).removeprefix('torch.')} {shape}"
    if len(shape) == 4 and shape[axes[0]] != shape[axes[1]]:
        return f"a map {shape}, whose axes {axes[0]} and {axes[1]} should be its height and width,"
    return ""


def _trains(subject: BackboneSubject) -> None:
    """Every parameter of the body has a say in its output, in training mode."""
    body = make_body(subject.model)
    buffers = {name: buffer.clone() for name, buffer in body.named_buffers()}
    named = [(stage, name, value) for stage, part in subject.model.stages for name, value in part.named_parameters()]
    frozen = next((f"'{name}' of the stage '{stage}'" for stage, name, value in named if not value.requires_grad), None)
    if frozen:
        raise Broken(f"{frozen} not to take any gradient (requires_grad is False)")
    try:
        gradients = _gradients(body.train(), subject.pictures(4), [value for *_, value in named])
    finally:
        body.eval()
        for name, buffer in body.named_buffers():
            buffer.copy_(buffers[name])
    for (stage, name, _), gradient in zip(named, gradients, strict=True):
        if gradient is None or not gradient.isfinite().all():
            what = "without a gradient" if gradient is None else "with a gradient that is not finite"
            raise Broken(f"'{name}' of the stage '{stage}' {what}")


def _gradients(body: nn.Module, images: Tensor, parameters: list[nn.Parameter]) -> tuple[Tensor | None, ...]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return torch.autograd.grad(body(images).square().mean(), parameters, allow_unused=True)


_rule = partial(Rule, kind="backbone")
_MODEL = "finetune.networks.network.BackboneModel"

RULES = (
    _rule(
        name="builds",
        expects="a BackboneModel with random weights, built without a network",
        read=_MODEL,
        hold=_builds,
    ),
    _rule(name="builds-in-silence", expects="that building it prints nothing", read=_MODEL, hold=_builds_in_silence),
    _rule(
        name="leaves-the-process-alone",
        expects="that building it changes nothing else in the process",
        read="finetune.testing.surroundings",
        hold=_leaves_the_process_alone,
    ),
    _rule(
        name="starts-from-the-seed",
        expects="random weights drawn from torch's generator: the same for the same seed, others for another",
        read=_MODEL,
        hold=_starts_from_the_seed,
    ),
    _rule(name="has-several-stages", expects="at least two stages", read=_MODEL, hold=_has_several_stages),
    _rule(
        name="each-parameter-in-one-stage",
        expects="every parameter in one stage only, so that it has one learning rate",
        read="finetune.networks.network.parameter_groups",
        hold=_each_parameter_in_one_stage,
    ),
    _rule(
        name="published-keys",
        expects="stages made of the published network's own tensors",
        read="finetune.networks.network.original_keys",
        hold=_has_published_keys,
    ),
    _rule(
        name="hands-on-tensors",
        expects="one float32 tensor from every stage: a vector (N, C), tokens (N, T, C) or a map (N, C, h, w), inside "
        "(N, h, w, C) where channels_last says so",
        read=_MODEL,
        hold=_hands_on_tensors,
    ),
    _rule(
        name="takes-a-head",
        expects="a body of known width, whose shapes can be told without numbers (on torch's meta device)",
        read="finetune.networks.network.output_width",
        hold=_takes_a_head,
    ),
    _rule(
        name="leaves-out-the-head-only",
        expects="stages that hold the published network but for its head, which comes after them",
        read=_MODEL,
        hold=_leaves_out_the_head_only,
    ),
    _rule(
        name="computes-the-published-features",
        expects="stages that, one after the other, give what the published network's head is given",
        read=_MODEL,
        hold=_computes_the_published_features,
    ),
    _rule(
        name="trains",
        expects="every parameter of every stage to get a finite gradient from the body's output, in training mode",
        read="finetune.networks.network.parameter_groups",
        hold=_trains,
    ),
)
"""What a backbone's network and its stages are held against."""
