"""The rules for backbones: the project's own keep them, and each deliberately broken one is told what it broke."""

from __future__ import annotations

import gc
import json
import re
import sys
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from finetune.plugins import load_plugins
from finetune.testing.backbones import RULES, BackboneSubject
from finetune.testing.rules import Case, Check, Finding
from finetune.types import Backbone

CASE = Case(plugin="tiny")
BY_NAME = {rule.name: rule for rule in RULES}
MODEL = "finetune.networks.network.BackboneModel"


@pytest.fixture(scope="module", autouse=True)
def broken() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "broken"]:
        del sys.modules[name]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny(build: str = "sound", **facts: object) -> Backbone:
    from broken.backbones import SOUND  # type: ignore[import-not-found]

    return replace(SOUND, build=f"broken.backbones:{build}", **facts)


def weights(**facts: object) -> object:
    from broken.backbones import WEIGHTS

    return replace(WEIGHTS, **facts)


def found(rule: str, backbone: Backbone, case: Case = CASE) -> Finding:
    thing = BackboneSubject(backbone, case)
    return Check(rule=BY_NAME[rule], subject=f"backbone '{backbone.name}'", thing=thing).run()


# ── what is sound ───────────────────────────────────────────────────────────────────────────────────


def held_against_all(backbone: Backbone) -> dict[str, str]:
    subject = BackboneSubject(backbone, CASE)
    findings = [Check(rule=rule, subject=backbone.name, thing=subject).run() for rule in RULES]
    assert [finding.message for finding in findings if finding.verdict == "failed"] == []
    return {finding.rule: finding.message for finding in findings if finding.verdict == "not checked"}


BY_URL = "its weights are a file behind a url, which finetune itself downloads and checks"


def test_a_sound_backbone_keeps_every_rule() -> None:
    assert held_against_all(tiny()) == {"fetches-its-weights": BY_URL}


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
def test_the_projects_own_backbones_keep_every_rule(name: str) -> None:
    assert held_against_all(load_plugins().find_backbone(name)) == {"fetches-its-weights": BY_URL}


def test_of_several_heads_the_mean_of_what_they_are_given_counts() -> None:
    assert found("computes-the-published-features", tiny("two_heads")).verdict == "ok"


def test_parameters_that_depend_on_the_image_size_are_counted_at_the_published_one() -> None:
    backbone = tiny("of_its_size", image_size_px=64, parameters=6298 + 3 * 64 * 64)
    assert found("counts-its-parameters", backbone).verdict == "ok"
    assert found("counts-its-parameters", replace(backbone, parameters=6298)).verdict == "failed"


def test_weights_with_functions_of_their_own_need_no_hash_and_nobody_waits_for_the_network() -> None:
    own = weights(sha256="", find="broken.backbones:find_nothing", fetch="broken.backbones:fetch")
    assert found("states-its-weights", tiny(weights=own)).verdict == "ok"
    assert found("fetches-its-weights", tiny(weights=own)).verdict == "ok"
    assert found("checks-its-weights", tiny(weights=own)).message == (
        "its weights are fetched and checked by a function of its own; test that with a damaged file"
    )


MORE = (
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t"),
    *("mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "shufflenet_v2_x0_5", "swin_t"),
    *("swin_v2_t", "vgg11_bn", "vit_b_16"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE)
def test_one_of_every_family_keeps_every_rule(name: str) -> None:
    assert held_against_all(load_plugins().find_backbone(name)) == {"fetches-its-weights": BY_URL}


def test_it_is_tried_at_the_smallest_size_that_it_takes_or_at_the_one_that_is_asked_for() -> None:
    assert BackboneSubject(tiny(), CASE).image_size_px == 32
    assert BackboneSubject(tiny(min_image_size_px=33, image_size_multiple_px=16), CASE).image_size_px == 48
    assert BackboneSubject(tiny(), replace(CASE, image_size_px=40)).images.shape == (3, 3, 40, 40)


def test_libraries_that_a_backbone_imports_in_its_function_may_change_the_process(restored: None) -> None:
    assert found("leaves-the-process-alone", tiny("importing")).message == ""


def test_a_network_is_let_go_after_the_last_rule() -> None:
    subject = BackboneSubject(tiny(), CASE)
    network = weakref.ref(subject.network)
    Check(rule=RULES[0], subject="it", thing=subject, is_last=True).run()
    gc.collect()
    assert network() is None


def test_trying_a_backbone_leaves_the_process_as_it_was() -> None:
    state, folder = torch.get_rng_state(), Path.cwd()
    found("starts-from-the-seed", tiny("moving"))
    assert torch.equal(torch.get_rng_state(), state)
    assert Path.cwd() == folder
    assert torch.is_grad_enabled()


# ── what is broken ──────────────────────────────────────────────────────────────────────────────────

TYPE, WEIGHTS = "finetune.types.Backbone", "finetune.types.Weights"
NORMAL = "mean and std to be three numbers each, for pixels scaled to 0..1, and std over 0"
SIZES = "an image_size_px that the backbone takes, whole numbers of pixels, and a crop_fraction in (0, 1]"
COUNT = "the number of parameters of the whole published network, within 1 %"
STATED = (
    "weights with a name, a licence, a source, an http(s) url (or file:// with find and fetch, where it brings them) "
    "and 8 or more digits of a hexadecimal sha256"
)

RECORDS = {
    "a mean of 0 to 255": (
        *({"mean": (123.7, 116.3, 103.5)}, "states-its-normalisation"),
        *(NORMAL, "mean=(123.7, 116.3, 103.5)", TYPE),
    ),
    "no deviation": ({"std": (0.2, 0.0, 0.2)}, "states-its-normalisation", NORMAL, "std=(0.2, 0.0, 0.2)", TYPE),
    "two channels": ({"mean": (0.5, 0.5)}, "states-its-normalisation", NORMAL, "mean=(0.5, 0.5)", TYPE),
    "a size it does not take": (
        *({"image_size_px": 50, "image_size_multiple_px": 16}, "states-its-sizes", SIZES),
        *("image_size_px=50 with min_image_size_px=32 and image_size_multiple_px=16", TYPE),
    ),
    "a crop of more than all": ({"crop_fraction": 1.2}, "states-its-sizes", SIZES, "crop_fraction=1.2", TYPE),
    "parameters miscounted": (
        *({"parameters": 62980}, "counts-its-parameters", COUNT),
        *("parameters=62980, and the network that is built has 6298", TYPE),
    ),
    "no licence": ({"weights": {"licence": "unknown"}}, "states-its-weights", STATED, "licence='unknown'", WEIGHTS),
    "no hash": ({"weights": {"sha256": ""}}, "states-its-weights", STATED, "sha256=''", WEIGHTS),
    "a url of files": (
        *({"weights": {"url": "/home/me/tiny.pth"}}, "states-its-weights", STATED, "url='/home/me/tiny.pth'"),
        WEIGHTS,
    ),
    "a hash that is not checked": (
        *({"weights": {"sha256": ""}}, "checks-its-weights"),
        "a file whose hash is not the published one to be refused with ModelError",
        *("a file with other weights in it, at the place of tiny-0123456789abcdef.safetensors, was taken for the", ""),
    ),
}


@pytest.mark.parametrize("case", RECORDS)
def test_a_record_that_is_wrong_is_told_so(case: str) -> None:
    facts, rule, expected, what, read = RECORDS[case]
    facts = {**facts, "weights": weights(**facts["weights"])} if "weights" in facts else facts
    finding = found(rule, tiny(**facts))
    what, read = (what, read) if read else (f"{what} published one", WEIGHTS)
    assert finding.verdict == "failed"
    assert finding.message == (
        f"backbone 'tiny' breaks the rule '{rule}': expected {expected}; found {what}. Read: python -m pydoc {read}"
    )


FETCHES = (
    "find to look on this machine only and return a file or None, and fetch to return a file or, without a network, to "
    "raise a FinetuneError"
)


@pytest.mark.parametrize(
    ("functions", "what"),
    [
        ({"find": "find_online"}, "that find asks for weights.example.org"),
        ({"find": "find_nothing", "fetch": "fetch_nothing"}, "{path!r} from fetch"),
    ],
    ids=["online", "no file"],
)
def test_functions_that_find_or_fetch_otherwise_are_told_so(functions: dict[str, str], what: str) -> None:
    own = weights(**{name: f"broken.backbones:{function}" for name, function in functions.items()})
    what = what.format(path=Path("tiny.safetensors"))  # as it is written by now: fastcore changes it
    assert found("fetches-its-weights", tiny(weights=own)).message == (
        f"backbone 'tiny' breaks the rule 'fetches-its-weights': expected {FETCHES}; found {what}. "
        f"Read: python -m pydoc {WEIGHTS}"
    )


BUILDS = "a BackboneModel with random weights, built without a network"
SEEDED = "random weights drawn from torch's generator: the same for the same seed, others for another"
HANDED_ON = (
    "one float32 tensor from every stage: a vector (N, C), tokens (N, T, C) or a map (N, C, h, w), inside (N, h, w, C) "
    "where channels_last says so"
)
BUT_THE_HEAD = "stages that hold the published network but for its head, which comes after them"
FEATURES = "stages that, one after the other, give what the published network's head is given"
GRADIENT = "every parameter of every stage to get a finite gradient from the body's output, in training mode"
PURE = "stages in eval mode that give the same, bit for bit, each time, and change nothing of their own"
GROUPS = "finetune.networks.network.parameter_groups"
FROZEN = "finetune.training.learner.callbacks.PretrainedInEval"

NETWORKS = {
    "downloading": ("builds", BUILDS, "that it asks for weights.example.org", MODEL),
    "failing": (
        *("builds", BUILDS),
        "The backbone 'tiny' failed: ValueError: no such depth. FINETUNE_DEBUG=1 shows where.",
        MODEL,
    ),
    "talking": ("builds-in-silence", "that building it prints nothing", "'Building a tiny network …'", MODEL),
    "moving": (
        *("leaves-the-process-alone", "that building it changes nothing else in the process"),
        "that it changes the working directory, whether torch records gradients",
        "finetune.testing.surroundings",
    ),
    "deaf": (
        *("leaves-the-process-alone", "that building it changes nothing else in the process"),
        *("that it changes json.dumps, the handler of SIGUSR1", "finetune.testing.surroundings"),
    ),
    "seeded": ("starts-from-the-seed", SEEDED, "the same weights for another seed", MODEL),
    "doubled": (
        *("each-parameter-in-one-stage", "every parameter in one stage only, so that it has one learning rate"),
        *("'0.weight' of the stage 'stage3' in the stage 'stage2' as well", GROUPS),
    ),
    "copied": (
        *("published-keys", "stages made of the published network's own tensors"),
        "The backbone is broken: 'stem.0.weight' in its stages is no tensor of its model. Build the stages from the "
        "model's own modules, or report it to the plugin's author.",
        "finetune.networks.network.original_keys",
    ),
    "handing_on_pairs": (
        "hands-on-tensors",
        HANDED_ON,
        "tuple from the stage 'stage2', for N = 1 square pictures",
        MODEL,
    ),
    "turned": (
        *("hands-on-tensors", HANDED_ON),
        "a map (1, 8, 16, 16), whose axes 1 and 2 should be its height and width, from the stage 'stem', for N = 1 "
        "square pictures",
        MODEL,
    ),
    "of_three": (
        *("hands-on-tensors", HANDED_ON),
        "RuntimeError: shape '[3, 16, 8, 8]' is invalid for input of size 1024",
        MODEL,
    ),
    "with_a_gap": (
        *("leaves-out-the-head-only", BUT_THE_HEAD),
        "'conv3.weight' in no stage, which the published network uses before 'norm4.running_mean'",
        MODEL,
    ),
    "too_short": (
        *("leaves-out-the-head-only", BUT_THE_HEAD),
        "5 layers in no stage, from 'conv3' on, which is given what is not pooled yet",
        MODEL,
    ),
    "without_relu": (
        *("computes-the-published-features", FEATURES),
        "other numbers than the published network's head is given, pooled or not",
        MODEL,
    ),
    "detached": ("trains", GRADIENT, "'0.weight' of the stage 'stem' without a gradient", GROUPS),
    "locked": (
        *("trains", GRADIENT),
        "'0.weight' of the stage 'stem' not to take any gradient (requires_grad is False)",
        GROUPS,
    ),
    "infinite": ("gives-finite-numbers", "finite features", "numbers that are not finite for noise", MODEL),
    "noisy": ("is-pure-when-frozen", PURE, "other features the second time", FROZEN),
    "learning_when_frozen": (
        *("is-pure-when-frozen", PURE),
        *("that 'stage2.1.running_mean' changes while it is frozen", FROZEN),
    ),
    "secretive": (
        "comes-back-from-its-file",
        "the same answers, bit for bit, once its weights went through weights.safetensors",
        *("other answers from the same weights", "finetune.networks.weights.load_network"),
    ),
    "adapting_too_much": (
        "takes-published-weights",
        "adapt_weights to leave weights alone that fit already, so that they give the same features",
        *("other features from the same weights", MODEL),
    ),
}


@pytest.mark.parametrize("build", NETWORKS)
def test_a_network_that_breaks_a_rule_is_told_which_and_how(build: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("json.dumps", json.dumps)  # which one of them replaces for good
    rule, expected, what, read = NETWORKS[build]
    finding = found(rule, tiny(build))
    assert finding.verdict == "failed"
    assert finding.message == (
        f"backbone 'tiny' breaks the rule '{rule}': expected {expected}; found {what}. Read: python -m pydoc {read}"
    )


def test_features_that_depend_on_the_rest_of_the_batch_are_found() -> None:
    finding = found("sees-each-picture-alone", tiny("sociable"))
    assert re.fullmatch(
        r"backbone 'tiny' breaks the rule 'sees-each-picture-alone': expected features of a picture that do not depend "
        r"on the others of its batch; found features that differ by \de[+-]\d\d of the largest number in a batch "
        rf"of 3\. Read: python -m pydoc {MODEL}",
        finding.message,
    )


def test_a_network_whose_shapes_depend_on_numbers_takes_no_head() -> None:
    finding = found("takes-a-head", tiny("undecided"))
    assert finding.message.startswith(
        "backbone 'tiny' breaks the rule 'takes-a-head': expected a body of known width, whose shapes can be told "
        "without numbers (on torch's meta device); found The body fails on a 32 px image: "
    )


def test_a_network_that_ends_the_process_takes_no_head() -> None:
    finding = found("takes-a-head", tiny("exiting"))
    assert (finding.verdict, "found SystemExit: 0. Read" in finding.message) == ("failed", True)


def test_a_network_that_onnx_cannot_hold_is_found() -> None:
    finding = found("becomes-onnx", tiny("foreign"))
    assert finding.message.startswith(
        "backbone 'tiny' breaks the rule 'becomes-onnx': expected one ONNX file that finetune-export opens; found "
    )
    assert finding.message.endswith(". Read: python -m pydoc finetune.targets.to_onnx")


def test_a_file_that_answers_otherwise_than_the_network_is_found() -> None:
    subject = BackboneSubject(tiny("rounded"), CASE)
    finding = Check(rule=BY_NAME["becomes-onnx"], subject="backbone 'tiny'", thing=subject).run()
    assert "golden" in finding.message, "the file refuses itself, for its own expected answers are the network's"


# ── what cannot be tried ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("rule", "backbone", "why"),
    [
        ("states-its-weights", {"weights": None}, "it has no published weights"),
        (
            "has-several-stages",
            {"build": "whole"},
            "it has a single stage, which is frozen or learns as a whole; --unfreeze counts stages",
        ),
        ("trains", {"build": "failing"}, "it cannot be built; see the rule 'builds'"),
        (
            *("gives-features", {"build": "of_three"}),
            "its stages take no head; see the rule 'takes-a-head'",
        ),
        (
            *("trains", {"std": (0.2, 0.0, 0.2)}),
            "no picture can be normalised with std=(0.2, 0.0, 0.2); see the rule 'states-its-normalisation'",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value in BY_NAME else "",
)
def test_what_cannot_be_tried_says_why(rule: str, backbone: dict[str, object], why: str) -> None:
    finding = found(rule, tiny(**backbone))
    assert (finding.verdict, finding.message) == ("not checked", why)
