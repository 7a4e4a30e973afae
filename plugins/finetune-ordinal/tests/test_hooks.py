from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from finetune.plugins import load_plugins
from finetune_ordinal.hooks import METRICS

PROJECT = Path(__file__).parent.parent
NAMES = ["quadratic-kappa", "rank-error", "within-one"]


def test_the_metrics_are_registered_under_the_name_that_the_metadata_publishes() -> None:
    found = load_plugins()
    (info,) = [info for info in found.infos if info.name == "ordinal"]

    assert (info.problem, list(info.offers["metric"])) == (None, NAMES)
    assert [found.metrics[name] for name in NAMES] == list(METRICS)
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["entry-points"]["finetune"] == {"ordinal": "finetune_ordinal.hooks"}


def test_the_hooks_load_nothing_heavy() -> None:
    code = "import sys, finetune_ordinal.hooks; print({'torch', 'numpy', 'sklearn', 'fastai'} & set(sys.modules))"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_the_readme_names_every_metric_and_which_way_it_is_better() -> None:
    rows = re.findall(
        r"^\| `(.+?)` \| .* \| (higher|lower) \|$", (PROJECT / "README.md").read_text("utf-8"), re.MULTILINE
    )

    assert rows == [(metric.name, "higher" if metric.higher_is_better else "lower") for metric in METRICS]
