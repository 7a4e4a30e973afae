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

import numpy as np

from finetune_export import read_contract
from finetune_export.image import read_pixels
from finetune_export.prediction import Prediction
from finetune_export.session import outputs_of


def main(model_url: str, model_file: str, photo: str) -> None:
    """Print the three most probable labels, or all values; ``KSERVE_HOST`` is the host name behind a shared ingress."""
    contract = read_contract(model_file)
    pixels = read_pixels(photo, contract.preprocessing)[None]  # uint8 (1, S, S, 3)
    image = {"name": "image", "datatype": "UINT8", "shape": pixels.shape, "data": pixels.ravel().tolist()}
    body = json.dumps({"inputs": [image], "outputs": [{"name": outputs_of(contract.task)[0]}]}).encode()
    headers = {"Content-Type": "application/json"}
    if host := os.environ.get("KSERVE_HOST"):
        headers["Host"] = host
    with urlopen(Request(f"{model_url}/infer", body, headers)) as response:
        (answer,) = json.load(response)["outputs"]
    said = Prediction.of(photo, np.array(answer["data"], np.float32), contract)
    for label, number in said.values.items() if said.task == "regression" else said.top(3):
        print(f"{number:.4f}  {label}")


if __name__ == "__main__":
    main(*sys.argv[1:])
