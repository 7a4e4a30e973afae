"""``predict MODEL -``: a list of paths on stdin."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Said, refusal


@pytest.mark.parametrize(("words", "between"), [([], b"\n"), (["--null"], b"\0")])
def test_paths_are_read_from_stdin(
    words: list[str], between: bytes, process: Callable[..., Said], model_path: Path, pictures: Path
) -> None:
    listed = [pictures / "dog" / "000.jpg", pictures / "cat"]
    stdin = between.join(bytes(path) for path in listed)

    said = process("predict", model_path, "-", *words, "--format", "jsonl", stdin=stdin)

    paths = [json.loads(line)["path"] for line in said.out.splitlines()]
    assert said.status == 0
    assert paths == [str(listed[0]), *sorted(map(str, (pictures / "cat").iterdir()))]


@pytest.mark.skipif(os.name != "posix", reason="pipes cannot be waited for here")
@pytest.mark.parametrize("kind", ["table", "jsonl"])
def test_a_path_on_stdin_is_answered_before_the_next_one_comes(
    kind: str, environment: dict[str, str], model_path: Path, pictures: Path
) -> None:
    command = [sys.executable, "-m", "finetune_export", "predict", str(model_path), "-", "--format", kind]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as running:
        assert running.stdin
        assert running.stdout
        for path in sorted((pictures / "cat").iterdir()):
            running.stdin.write(bytes(path) + b"\n")
            answered, _, _ = select.select([running.stdout], [], [], 60)
            if not answered:
                running.kill()
            assert path.name in running.stdout.readline().decode()
        running.stdin.close()
    assert running.returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="stdin is closed by a POSIX shell")
def test_stdin_that_is_closed_is_a_usage_error(process: Callable[..., Said], model_path: Path) -> None:
    command = f"{sys.executable} -m finetune_export predict {model_path} - <&-"
    code = f"import os; os.execv('/bin/sh', ['sh', '-c', {command!r}])"

    assert refusal(process(code=code), 2).startswith("- stands for a list of paths on stdin, which is closed; ")
