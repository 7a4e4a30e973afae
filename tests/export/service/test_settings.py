from __future__ import annotations

from pathlib import Path

from finetune_export import Limits
from finetune_export.service.settings import Settings


def test_settings_survive_the_way_to_a_worker() -> None:
    settings = Settings(
        models={"a": Path("a.onnx"), "b": Path("/b/Käfer.onnx")},
        token="secret",
        providers=("CPU",),
        limits=Limits(max_bytes=1, max_pixels=2, max_side_px=3),
        run_timeout_s=0.25,
    )
    text = settings.to_json()
    assert "\n" not in text
    assert Settings.from_json(text.encode()) == settings


def test_nobody_but_this_machine_is_served_by_default() -> None:
    assert Settings(models={}).host == "127.0.0.1"


def test_128_clients_fit_by_default() -> None:
    settings = Settings(models={})
    assert settings.concurrency + settings.queue > 128
    assert settings.max_connections > 128
