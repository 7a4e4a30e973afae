"""The ground under the other tests holds."""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

import pytest
from platformdirs import user_cache_path


def test_no_address_outside_this_machine_can_be_connected_to() -> None:
    with socket.socket() as outgoing, pytest.raises(ConnectionRefusedError, match="tests have no network"):
        outgoing.connect(("192.0.2.1", 80))


def test_no_name_outside_this_machine_can_be_looked_up() -> None:
    with pytest.raises(socket.gaierror, match="tests have no network"):
        socket.create_connection(("example.org", 80))


def test_this_machine_itself_can_be_connected_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()


def test_caches_lie_in_the_folder_of_the_test_run(tmp_path_factory: pytest.TempPathFactory) -> None:
    ours = tmp_path_factory.getbasetemp()

    assert user_cache_path("finetune").is_relative_to(ours)
    assert Path(os.environ["TORCH_HOME"]).is_relative_to(ours)


def test_chance_begins_alike_in_every_test() -> None:
    assert random.random() == random.Random(7).random()
