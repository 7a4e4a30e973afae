"""A rival: the handler that people write around a predictor with Starlette and uvicorn, and nothing more.

python plain_starlette.py MODEL
"""

from __future__ import annotations

import socket
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from finetune_export import Prediction, Predictor

predictor = Predictor(sys.argv[1], threads=1)


def classify(picture: bytes) -> Prediction:
    """Return the prediction for one picture's bytes."""
    probabilities, _ = predictor.run(predictor.pixels(picture)[None])
    return predictor.prediction("picture", probabilities[0])


async def predict(request: Request) -> JSONResponse:
    """Answer one picture."""
    found = await run_in_threadpool(classify, await request.body())
    return JSONResponse({"label": found.label, "probability": found.probability})


def main() -> None:
    """Serve on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"Listening on http://127.0.0.1:{listener.getsockname()[1]}\n")
    app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
    uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False)).run([listener])


if __name__ == "__main__":
    main()
