"""A rival: LitServe around the same predictor, a worker process per core; it takes pictures in base64 within JSON.

python lit_server.py MODEL WORKERS
"""

from __future__ import annotations

import base64
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import litserve

from finetune_export import Prediction, Predictor


class Classifier(litserve.LitAPI):  # type: ignore[misc]
    """A picture in, a label out."""

    def setup(self, device: str) -> None:
        """Open the model."""
        self.predictor = Predictor(sys.argv[1], threads=1)

    def decode_request(self, request: dict[str, str]) -> bytes:
        """Return the picture's bytes."""
        return base64.b64decode(request["content"])

    def predict(self, picture: bytes) -> Prediction:
        """Classify a picture."""
        probabilities, _ = self.predictor.run(self.predictor.pixels(picture)[None])
        return self.predictor.prediction("picture", probabilities[0])

    def encode_response(self, found: Prediction) -> dict[str, Any]:
        """Return what becomes JSON."""
        return {"label": found.label, "probability": found.probability}


def announce(port: int) -> None:
    """Say where it listens once it does."""
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
                if answer.status == 200:
                    break
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    sys.stdout.write(f"Listening on http://127.0.0.1:{port}\n")
    sys.stdout.flush()


def main() -> None:
    """Serve on a port that is free at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    threading.Thread(target=announce, args=(port,), daemon=True).start()
    server = litserve.LitServer(Classifier(), accelerator="cpu", workers_per_device=int(sys.argv[2]), timeout=60)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="error")


if __name__ == "__main__":
    main()
