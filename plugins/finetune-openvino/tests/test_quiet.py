"""Nobody is told: no socket, nothing in the home folder; and neither torch nor finetune where a model is deployed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

WATCH = """
import json, sys
seen = []
sys.addaudithook(lambda event, arguments: seen.append(event) if event.startswith(("socket.", "urllib.")) else None)
"""
TELL = """
heavy = {"torch", "finetune", "fastai", "onnx", "openvino_telemetry"} & set(sys.modules)
print(json.dumps({"sockets": seen, "heavy": sorted(heavy), "answers": answers}))
"""
CONVERT = """
from pathlib import Path
from finetune_openvino import engine
answers = len(engine.convert(Path(sys.argv[1]).read_bytes()))
"""
PREDICT = """
from finetune_openvino import Predictor
answers = [prediction.answers for prediction in Predictor(sys.argv[1]).predict(sys.argv[2:])]
"""


def told(code: str, home: Path, *arguments: Path) -> dict[str, Any]:
    """Run code in a process with a home of its own, not in continuous integration, where openvino is discreet."""
    surroundings = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    command = [sys.executable, "-c", WATCH + code + TELL, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=surroundings | {"HOME": str(home)})
    assert done.stderr == ""
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_a_conversion_opens_no_socket_and_leaves_nothing_behind(small: Any, tmp_path: Path) -> None:
    assert told(CONVERT, tmp_path, small.onnx) == {"sockets": [], "heavy": [], "answers": 2}
    assert list(tmp_path.iterdir()) == []


def test_predicting_loads_neither_torch_nor_finetune_and_opens_no_socket(one: Any, tmp_path: Path) -> None:
    found = told(PREDICT, tmp_path, one.folder, *one.pictures[:3])
    assert (found["sockets"], found["heavy"], len(found["answers"])) == ([], [], 3)
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_loads_nothing_heavy(tmp_path: Path) -> None:
    code = "import finetune_openvino\nanswers = sorted({'numpy', 'openvino', 'onnxruntime'} & set(sys.modules))"
    assert told(code, tmp_path)["answers"] == []


def test_the_package_for_telemetry_is_there_again_for_whoever_imports_it_knowingly(tmp_path: Path) -> None:
    code = "from finetune_openvino import engine\nimport importlib.util\n"
    code += "answers = importlib.util.find_spec('openvino_telemetry') is not None"
    found = told(code, tmp_path)
    assert (found["answers"], found["heavy"]) == (True, [])


SIGNAL = """
import gc, os, signal, threading
from finetune_openvino import Predictor

predictor, answers = Predictor(sys.argv[1]), []
signal.signal(signal.SIGINT, lambda *_: answers.append("asked to end"))

def drop():
    global predictor
    predictor = None
    gc.collect()

elsewhere = threading.Thread(target=drop)
elsewhere.start()
elsewhere.join()
signal.raise_signal(signal.SIGINT)
"""


def test_a_signal_is_survived_after_another_thread_let_go_of_a_predictor(small: Any, tmp_path: Path) -> None:
    assert told(SIGNAL, tmp_path, small.folder)["answers"] == ["asked to end"]
