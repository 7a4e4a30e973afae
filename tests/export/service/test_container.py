"""The container example, as far as it can be tried without a container engine."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml

from finetune_export.cli import serve as command

from .conftest import Serve, Service

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "service"


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions with their arguments."""
    text = re.sub(r"\\\n", " ", (EXAMPLE / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line.partition(" ") for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, " ".join(rest.split())) for name, _, rest in lines]


def argument(name: str) -> str:
    return [rest for each, rest in instructions() if each == name][-1]


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers(dest="command"))
    return parser.parse_args(arguments)


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((EXAMPLE / name).read_text(encoding="utf-8")))


def test_it_installs_the_wheel_with_an_extra_that_exists() -> None:
    (wheel, extra) = re.findall(r"/wheels/(finetune_export-\*\.whl)\)\[(\w+)\]", argument("RUN"))[0]
    project = tomllib.loads((ROOT / "export" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert extra in project["optional-dependencies"]
    assert wheel in dict(instructions())["COPY"] or any(wheel in rest for _, rest in instructions())
    assert "finetune-export" in project["scripts"]


def test_it_runs_as_nobody() -> None:
    user, _, group = argument("USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0


def test_its_command_is_one_that_we_understand() -> None:
    program, *arguments = json.loads(argument("ENTRYPOINT")) + json.loads(argument("CMD"))
    found = parsed(arguments)
    assert program.endswith("/finetune-export")
    assert (found.host, found.port, found.models) == ("0.0.0.0", 8080, ["/models/model.onnx"])
    assert argument("EXPOSE") == "8080"


def test_its_health_check_tells_a_service_from_none(service: Service) -> None:
    _, _, code = argument("HEALTHCHECK").partition("CMD ")
    program, *arguments = json.loads(code)
    assert program.endswith("/python")

    def status(port: int) -> int:
        here = [text.replace("8080", str(port)) for text in arguments]
        return subprocess.run([sys.executable, *here], capture_output=True, check=False).returncode

    assert status(service.port) == 0
    assert status(1) != 0


def test_compose_takes_every_right_away() -> None:
    (document,) = documents("compose.yaml")
    (service,) = document["services"].values()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(volume.endswith(":ro") for volume in service["volumes"])
    assert parsed(["serve", *service["command"]]).token_file == Path("/run/secrets/token")


def test_kubernetes_takes_every_right_away() -> None:
    deployment, front = documents("kubernetes.yaml")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert deployment["spec"]["template"]["metadata"]["labels"] == front["spec"]["selector"]
    assert parsed(["serve", *container["args"]]).concurrency == 2


def test_its_probes_are_answered_without_a_token(serve: Serve, model_path: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    service = serve(model_path, "--token-file", tmp_path / "token")
    deployment, _ = documents("kubernetes.yaml")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert service.request("GET", container[probe]["httpGet"]["path"]).status == 200


def test_the_readmes_files_exist() -> None:
    text = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    commands = [shlex.split(line, comments=True) for line in script.splitlines()]
    assert commands[0] == ["cd", "examples/service"]
    assert (EXAMPLE / commands[1][-1] / "pyproject.toml").is_file()
    assert len(text.splitlines()) <= 40
