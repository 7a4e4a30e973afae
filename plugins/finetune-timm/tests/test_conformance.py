"""What every backbone promises, held against a few of them."""

from __future__ import annotations

from finetune.testing import Case, Conformance


class TestConformance(Conformance):
    case = Case(
        plugin="timm",
        only=(
            "timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k",
            "timm:test_byobnet.r160_in1k",
            "timm:mobileone_s0.apple_in1k",
        ),
        image_size_px=32,
    )
