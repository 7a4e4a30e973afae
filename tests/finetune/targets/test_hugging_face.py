"""A folder for Hugging Face's tools: transformers and optimum open it, and answer as the proof says they do."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from PIL import Image

from finetune.errors import ImageError
from finetune.networks.network import assemble, build_backbone
from finetune.plugins import load_plugins
from finetune.targets import hugging_face
from finetune.targets.hugging_face import pixel_values
from finetune.targets.to_onnx import to_onnx
from finetune.types import Artifact, ExportRequest, ExportTarget, Verification
from finetune.verification import verify
from finetune_export import Predictor
from finetune_export.contract import BackboneOrigin, Calibration, Contract, DatasetOrigin, PluginOrigin, Preprocessing
from finetune_export.image import Limits, read_pixels

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported, which takes seconds: only where it is used

LABELS = ("Käfer 甲", 'a "quoted": label', "<script>alert(1)</script>", "שלום", "two\nlines\r\n", "`{0}`", "```\n# Hi")
SIZE = 32
PREPROCESSING = Preprocessing(
    image_size_px=SIZE, crop_fraction=0.875, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)
TARGET = ExportTarget(name="hf", summary="", export="finetune.targets.hugging_face:export", judged_by="metric")
ONE_LEVEL = 1 / 255 / min(PREPROCESSING.std)
"""How far two normalised pixels are apart that differ by one of 255 levels."""


@dataclass(frozen=True)
class Made:
    """What the target was asked for, what it wrote, how that fared, and the pictures that decided it."""

    request: ExportRequest
    artifact: Artifact
    found: Verification
    pictures: tuple[Path, ...]

    @property
    def folder(self) -> Path:
        return self.artifact.path

    @property
    def card(self) -> str:
        return (self.folder / "README.md").read_text()

    @property
    def plain(self) -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(self.folder / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only wait for each other's threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def contract() -> Contract:
    return Contract(
        labels=LABELS,
        preprocessing=PREPROCESSING,
        backbone=BackboneOrigin(name="squeezenet1_1", weights="none", licence=""),
        dataset=DatasetOrigin(
            name="</script>\n```\n# No {heading}",
            source="drawn | 甲",
            licence="CC0-1.0",
            fingerprint="0" * 64,
            train_images=20,
            valid_images=8,
        ),
        plugins=(
            PluginOrigin(
                distribution="# No {heading}", version="1", licence="MIT", origin="unknown", used_for=("dataset a",)
            ),
        ),
        run_id="2024-01-02-a",
        metrics={"accuracy": 0.5},
        versions={"finetune": "0.1.0"},
        calibration=Calibration(method="temperature", temperature=2.0),
        thresholds={LABELS[0]: 0.5},
    )


@pytest.fixture(scope="module")
def made(contract: Contract, tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., Image.Image]) -> Made:
    folder = tmp_path_factory.mktemp("hf")
    torch.manual_seed(0)
    network = assemble(build_backbone(load_plugins().find_backbone("squeezenet1_1"), SIZE), len(LABELS), SIZE).eval()
    onnx_file, staging = folder / "model.onnx", folder / "staging"
    onnx_file.write_bytes(to_onnx(network, contract))
    staging.mkdir()
    pictures = drawn(folder, picture)
    reference = Predictor(onnx_file).answers(pictures)
    targets = np.array([*reference.argmax(axis=1)[:-1], 0])
    request = ExportRequest(
        network=network,
        contract=contract,
        folder=staging,
        onnx=onnx_file,
        training_images=(),
        judge=lambda artifact: verify(artifact, TARGET, pictures, targets, reference, contract, max_drop=0.2),
        note=pytest.fail,
    )
    artifact = hugging_face.export(request)
    return Made(request, artifact, request.judge(artifact), pictures)


def drawn(folder: Path, picture: Callable[..., Image.Image]) -> tuple[Path, ...]:
    """Save pictures of many shapes, smaller and larger than the network's, of smooth colours and noise."""
    sizes = [(40, 40), (53, 40), (41, 64), (301, 200), (20, 20), (37, 36), (9, 120)]
    for kind, size in enumerate(sizes):
        picture(kind, seed=kind, size=size).save(folder / f"{kind}.png")
    return tuple(folder / f"{kind}.png" for kind in range(len(sizes)))


# ── the folder ──────────────────────────────────────────────────────────────────────────────────────


def test_the_folder_holds_what_the_tools_look_for_and_nothing_else(
    made: Made, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    assert made.folder.name == "hf"
    assert set(tree(made.folder)) == {
        "README.md",
        "config.json",
        "finetune.onnx",
        "onnx/model.onnx",
        "preprocessor_config.json",
    }


def test_the_file_at_the_root_is_the_verified_one(made: Made) -> None:
    assert (made.folder / "finetune.onnx").read_bytes() == made.request.onnx.read_bytes()  # type: ignore[union-attr]
    assert Predictor(made.folder / "finetune.onnx").labels == LABELS


def test_exporting_twice_writes_the_same_bytes(
    made: Made, tmp_path: Path, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    again = hugging_face.export(replace(made.request, folder=tmp_path))

    assert tree(again.path) == tree(made.folder)


def test_the_artifact_is_judged_by_the_metric_and_passes(made: Made) -> None:
    assert made.found.passed
    assert made.found.compared == len(made.pictures)
    assert made.found.max_drop_allowed == 0.2
    assert 0 < made.found.max_difference < 0.1, "whole pixels make a difference, and a small one"


# ── onnx/model.onnx ─────────────────────────────────────────────────────────────────────────────────


def test_the_plain_graph_takes_pixel_values_and_answers_logits_for_any_number_of_pictures(made: Made) -> None:
    (image,), (logits,) = made.plain.get_inputs(), made.plain.get_outputs()

    assert (image.name, image.type, image.shape) == ("pixel_values", "tensor(float)", ["N", 3, SIZE, SIZE])
    assert (logits.name, logits.type, logits.shape) == ("logits", "tensor(float)", ["N", len(LABELS)])


@pytest.mark.parametrize("count", [1, 3])
def test_the_plain_graphs_logits_are_torchs_divided_by_the_temperature(made: Made, count: int) -> None:
    pixels = np.random.default_rng(count).normal(size=(count, 3, SIZE, SIZE)).astype(np.float32)
    with torch.inference_mode():
        expected = made.request.network(torch.from_numpy(pixels)).numpy() / 2

    (logits,) = made.plain.run(["logits"], {"pixel_values": pixels})

    assert np.abs(logits - expected).max() < 1e-4


def test_the_plain_graph_is_self_contained_and_says_nothing_of_the_machine(made: Made) -> None:
    file = (made.folder / "onnx" / "model.onnx").read_bytes()
    model = onnx.load_from_string(file)

    assert not model.metadata_props
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    for trace in (str(Path.home()), str(made.folder), torch.__path__[0], "site-packages", ".py"):
        assert trace.encode() not in file


# ── what transformers reads ─────────────────────────────────────────────────────────────────────────


def test_transformers_reads_every_label_as_it_is(made: Made) -> None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(made.folder)

    assert config.id2label == dict(enumerate(LABELS))
    assert config.label2id == {label: i for i, label in enumerate(LABELS)}
    assert (config.num_labels, config.image_size, config.num_channels) == (len(LABELS), SIZE, 3)


@pytest.mark.parametrize(("size", "fraction"), [(32, 0.875), (31, 0.9), (32, 1.0), (224, 0.875)])
def test_the_proofs_pixels_are_those_of_transformers_image_processor(
    made: Made, tmp_path: Path, size: int, fraction: float
) -> None:
    preprocessing = replace(PREPROCESSING, image_size_px=size, crop_fraction=fraction)

    processor = processor_for(preprocessing, tmp_path, use_fast=False)

    for path in made.pictures:
        expected = processor(hugging_faces_picture(path), return_tensors="np")["pixel_values"][0]
        pixels = pixel_values(path, preprocessing)
        assert (pixels.shape, pixels.dtype) == ((3, size, size), np.float32)
        assert np.abs(pixels - expected).max() < 1e-5, f"{path.name} to {size}"


@pytest.mark.parametrize(("size", "fraction", "edge"), [(224, 0.875, 256), (32, 0.875, 37), (299, 1.0, 299)])
def test_the_image_processor_shows_the_network_what_it_was_trained_on(
    tmp_path: Path, size: int, fraction: float, edge: int
) -> None:
    preprocessing = replace(PREPROCESSING, image_size_px=size, crop_fraction=fraction)
    slope = Image.linear_gradient("L").resize((640, 481))
    Image.merge("RGB", (slope, slope.rotate(180), slope.transpose(Image.Transpose.FLIP_LEFT_RIGHT))).save(
        tmp_path / "slope.png"
    )

    theirs = pixel_values(tmp_path / "slope.png", preprocessing).transpose(1, 2, 0)
    ours = read_pixels(tmp_path / "slope.png", preprocessing)

    assert hugging_face.preprocessor_config(preprocessing)["size"] == {"shortest_edge": edge}
    levels = (theirs * PREPROCESSING.std + PREPROCESSING.mean) * 255
    assert np.abs(levels - ours).max() < 256 / edge + 2, "the cut is off by one of the resized picture's pixels at most"


@pytest.mark.filterwarnings("ignore:Palette images with Transparency:UserWarning")  # transformers' own reading warns
def test_every_kind_of_file_is_decoded_as_transformers_does(
    tmp_path: Path, picture: Callable[..., Image.Image]
) -> None:
    processor = processor_for(PREPROCESSING, tmp_path, use_fast=False)

    for path in every_kind(tmp_path, picture):
        expected = processor(hugging_faces_picture(path), return_tensors="np")["pixel_values"][0]
        assert np.abs(pixel_values(path, PREPROCESSING) - expected).max() < 1e-5, path.name


def test_the_image_processor_on_torch_differs_by_one_level_at_most(made: Made, tmp_path: Path) -> None:
    preprocessing = replace(PREPROCESSING, image_size_px=224)
    processor = processor_for(preprocessing, tmp_path, use_fast=True)

    for path in (made.pictures[0], made.pictures[3]):  # none of them is cut at half a pixel, which it rounds otherwise
        expected = processor(hugging_faces_picture(path), return_tensors="pt")["pixel_values"][0].numpy()
        assert np.abs(pixel_values(path, preprocessing) - expected).max() < 1.01 * ONE_LEVEL


def test_transformers_finds_no_weights_that_it_could_take_for_a_resnets(made: Made) -> None:
    from transformers import AutoModelForImageClassification

    with pytest.raises(OSError, match=r"no file named .*model\.safetensors"):
        AutoModelForImageClassification.from_pretrained(made.folder)


def processor_for(preprocessing: Preprocessing, folder: Path, use_fast: bool) -> Any:
    from transformers import AutoImageProcessor

    written = json.dumps(hugging_face.preprocessor_config(preprocessing))
    (folder / "preprocessor_config.json").write_text(written)
    return AutoImageProcessor.from_pretrained(folder, use_fast=use_fast)


def hugging_faces_picture(path: Path) -> Image.Image:
    from transformers.image_utils import load_image

    with Image.open(path) as picture:
        return load_image(picture)  # type: ignore[no-any-return]


def every_kind(folder: Path, picture: Callable[..., Image.Image]) -> list[Path]:
    """Save pictures that each need another way to RGB."""
    names = ("turned.jpg", "inky.jpg", "clear.png", "holes.png", "grey.png", "animated.gif")
    turned = Image.Exif()
    turned[0x0112] = 6
    images = [picture(kind, seed=kind, size=(52, 40)) for kind in range(len(names))]
    images[1] = images[1].convert("CMYK")
    images[2].putalpha(Image.linear_gradient("L").resize(images[2].size))
    images[3] = images[3].quantize(16)
    images[4] = images[4].convert("L")
    more: dict[str, dict[str, Any]] = {
        "turned.jpg": {"exif": turned},
        "holes.png": {"transparency": bytes(range(0, 256, 16))},
        "animated.gif": {"save_all": True, "append_images": [images[0]]},
    }
    for name, image in zip(names, images, strict=True):
        image.save(folder / name, **more.get(name, {}))
    return [folder / name for name in names]


# ── pictures that are refused ───────────────────────────────────────────────────────────────────────


def test_a_picture_whose_resized_whole_would_be_huge_is_refused(
    tmp_path: Path, picture: Callable[..., Image.Image]
) -> None:
    picture(size=(300, 10)).save(tmp_path / "long.png")

    with pytest.raises(ImageError) as caught:
        pixel_values(tmp_path / "long.png", PREPROCESSING, Limits(max_pixels=20_000))

    assert str(caught.value) == (
        f"{tmp_path}/long.png: 300 x 10 pixels; Hugging Face's image processor would make 1110 x 37 of them, and at "
        "most 20000 are allowed; leave the picture or the target 'hf' out"
    )


def test_a_picture_that_is_cut_off_is_refused(tmp_path: Path, picture: Callable[..., Image.Image]) -> None:
    picture().save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:-200])

    with pytest.raises(ImageError, match=r"cut\.jpg: the picture is cut off or damaged"):
        pixel_values(tmp_path / "cut.jpg", PREPROCESSING)


# ── the model card ──────────────────────────────────────────────────────────────────────────────────


def test_the_cards_front_matter_is_what_the_hub_reads(made: Made) -> None:
    from huggingface_hub import ModelCard

    data = ModelCard.load(made.folder / "README.md").data

    assert data.to_dict() == yaml.safe_load(made.card.split("---\n")[1])
    assert (data.license, data.pipeline_tag, data.library_name) == ("other", "image-classification", "transformers.js")
    assert (data.tags, data.metrics) == (["image-classification", "onnx", "finetune"], ["accuracy"])


def test_the_card_states_what_was_measured(made: Made) -> None:
    assert f"On the {made.found.compared} validation pictures" in made.card
    assert f"| the trained network, and `finetune.onnx` | {made.found.value:.4f} |" in made.card
    assert f"image processor (the Pillow one) | {made.found.exported_value:.4f} |" in made.card
    assert f"on {made.found.agreement:.2%} of them" in made.card


def test_what_people_named_is_in_the_card_as_json_and_can_be_no_markup(made: Made, contract: Contract) -> None:
    before, facts, after = re.split(r"^```(?:json)?$", made.card, flags=re.MULTILINE)[-3:]

    stated = json.loads(facts)
    assert stated["dataset"]["name"] == contract.dataset.name
    assert stated["dataset"]["licence"] == contract.dataset.licence
    assert stated["backbone"]["name"] == contract.backbone.name
    assert stated["plugins"] == [asdict(plugin) | {"used_for": list(plugin.used_for)} for plugin in contract.plugins]
    assert "# No {heading}" not in before + after
    assert not any(label in made.card.replace(facts, "") for label in LABELS)


def test_the_card_says_that_thresholds_stay_behind_where_there_are_some(made: Made, tmp_path: Path) -> None:
    without = replace(made.request, folder=tmp_path, contract=replace(made.request.contract, thresholds={}))

    hugging_face.export(without)

    assert "thresholds" in made.card
    assert "thresholds" not in (tmp_path / "hf" / "README.md").read_text()


def test_the_cards_programs_run_and_answer_as_the_proof_did(
    made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = made.folder.parent / "photo.jpg"
    Image.open(made.pictures[3]).save(photo)
    ours, theirs = re.findall(r"^```python\n(.*?)^```$", made.card.replace('"photo', '"../photo'), re.M | re.S)
    monkeypatch.chdir(made.folder)

    exec(ours, {})
    in_our_way = ast.literal_eval(capsys.readouterr().out)
    exec(theirs, {})
    in_their_way = ast.literal_eval(capsys.readouterr().out)

    (expected,) = made.artifact.answers([photo])
    best = np.argsort(-expected)[:3]
    assert in_our_way == Predictor("finetune.onnx").predict(photo)[0].top(3)
    assert [answer["label"] for answer in in_their_way] == [LABELS[i] for i in best]
    assert np.abs(np.array([answer["score"] for answer in in_their_way]) - expected[best]).max() < 1e-5
