"""Ask a server of the Open Inference Protocol (Triton, KServe, finetune's service) about one photo.

Usage: python ask.py http://localhost:8000/v2/models/insects model.onnx photo.jpg

The labels and the preprocessing are read from the model file, so that the server sees the pixels that the network was
verified with. It needs finetune-export, and nothing else.
"""

from __future__ import annotations

import json
import os
import sys
from urllib.request import Request, urlopen

from finetune_export import read_contract
from finetune_export.image import read_pixels


def main(model_url: str, model_file: str, photo: str) -> None:
    """Print the three most probable labels; ``KSERVE_HOST`` is the host name behind a shared ingress."""
    contract = read_contract(model_file)
    pixels = read_pixels(photo, contract.preprocessing)[None]  # uint8 (1, S, S, 3)
    image = {"name": "image", "datatype": "UINT8", "shape": pixels.shape, "data": pixels.ravel().tolist()}
    body = json.dumps({"inputs": [image], "outputs": [{"name": "probabilities"}]}).encode()
    headers = {"Content-Type": "application/json"}
    if host := os.environ.get("KSERVE_HOST"):
        headers["Host"] = host
    with urlopen(Request(f"{model_url}/infer", body, headers)) as response:
        (answer,) = json.load(response)["outputs"]
    best = sorted(zip(answer["data"], contract.labels, strict=True), reverse=True)[:3]
    for probability, label in best:
        print(f"{probability:.4f}  {label}")


if __name__ == "__main__":
    main(*sys.argv[1:])
