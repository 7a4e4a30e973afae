"""What the plugin offers, held against the installed timm."""

from __future__ import annotations

import random
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import timm
from timm.models import get_pretrained_cfg

from finetune.names import unknown_name
from finetune.plugins import KINDS
from finetune.plugins.kinds import check
from finetune.types import Backbone
from finetune_timm.hooks import finetune_register_backbones
from finetune_timm.table import TABLE, rows
from finetune_timm.tabulate import HEADLESS, lines, names, on_meta, source_of, takes

SLICE = 25
ROWS = {row.name: row for row in rows()}
BACKBONES: dict[str, Backbone] = {}
finetune_register_backbones(lambda backbone: BACKBONES.__setitem__(backbone.name, backbone))


def test_all_of_timms_weights_are_offered_and_its_architectures_without() -> None:
    assert list(ROWS) == names()
    assert list(BACKBONES) == [f"timm:{name}" for name in ROWS]
    headless = {name for name in timm.list_models() if name.endswith(HEADLESS)}
    assert {name.partition(".")[0] for name in ROWS} == set(timm.list_models()) - headless


def test_every_backbone_may_be_registered() -> None:
    for backbone in BACKBONES.values():
        check(KINDS["backbone"], backbone)


def test_every_network_takes_its_own_image_size() -> None:
    for row in ROWS.values():
        assert row.image_size_px >= row.min_image_size_px
        assert row.image_size_px % row.multiple_px == 0


def test_weights_are_the_hubs_and_what_nobody_can_check_is_left_out() -> None:
    weights = BACKBONES["timm:resnet18.a1_in1k"].weights
    assert weights is not None
    assert (weights.name, weights.licence, weights.sha256) == ("a1_in1k", "apache-2.0", "")
    assert weights.url == "https://huggingface.co/timm/resnet18.a1_in1k"
    assert (weights.fetch, weights.find) == ("finetune_timm.hub:fetch", "finetune_timm.hub:find")

    by_url = BACKBONES["timm:legacy_seresnet18.in1k"].weights
    assert by_url is not None
    assert (by_url.sha256, by_url.fetch) == ("4bb0ce65", "")

    without = {name for name, backbone in BACKBONES.items() if not backbone.weights and "." in name}
    assert without == {f"timm:{name}" for name in ROWS if name.endswith("_ijepa")}


def test_an_architecture_without_weights_is_offered_for_random_ones() -> None:
    assert BACKBONES["timm:nfnet_f0"].weights is None
    assert BACKBONES["timm:nfnet_f0"].summary == "timm, for --weights none"


@pytest.mark.parametrize("name", random.Random(0).sample(sorted(ROWS), SLICE))
def test_a_row_says_what_timm_does(name: str) -> None:
    row, facts = ROWS[name], get_pretrained_cfg(name)
    assert facts is not None
    model = on_meta(name, row.image_size_px)

    assert row.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (row.image_size_px, row.crop_fraction) == (facts.input_size[-1], facts.crop_pct)
    assert (row.mean, row.std, row.licence) == (tuple(facts.mean), tuple(facts.std), facts.license or "unknown")
    assert row.source == source_of(name, facts)


@pytest.mark.slow
@pytest.mark.parametrize("name", random.Random(1).sample(sorted(ROWS), 4 * SLICE))
def test_a_network_takes_the_sizes_that_its_row_states(name: str) -> None:
    row = ROWS[name]
    for size in (row.min_image_size_px, row.min_image_size_px + row.multiple_px):
        if row.min_image_size_px < row.image_size_px or size == row.image_size_px:
            assert takes(on_meta(name, size), size)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_table_is_what_its_script_writes() -> None:
    assert TABLE.read_text(encoding="utf-8").splitlines() == list(lines())


def test_a_name_that_is_nearly_right_is_suggested() -> None:
    assert "timm:mobileone_s0.apple_in1k" in unknown_name("backbone", "timm:mobileone_s0.aple_in1k", BACKBONES)


def test_listing_imports_neither_timm_nor_torch() -> None:
    code = (
        "import sys, finetune_timm.hooks as h; h.finetune_register_backbones(lambda b: None); "
        "sys.exit(bool({'timm', 'torch', 'numpy', 'huggingface_hub'} & set(sys.modules)))"
    )
    folder = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder)


def test_the_entry_point_is_the_module_of_hooks() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]

    assert project["entry-points"]["finetune"] == {"timm": "finetune_timm.hooks"}
