"""What our service is compared with: the same model behind less, as ASGI applications for uvicorn.

Each is a factory that reads the folder of the published model from NALU_BENCHMARK_MODEL.
"""

import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import orjson
from fastapi import FastAPI
from numpy.typing import NDArray
from pydantic import BaseModel, create_model

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


def _columns() -> list[str]:
    manifest = json.loads((_folder() / "manifest.json").read_text(encoding="utf-8"))
    return [column["name"] for column in manifest["inputs"]]


def _folder() -> Path:
    return Path(os.environ["NALU_BENCHMARK_MODEL"])


def _model() -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession((_folder() / "model.onnx").read_bytes(), options)

    def run(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        (answer,) = session.run(["predictions"], {"numeric": rows})
        return np.asarray(answer)

    return run


def _raw(answer: Callable[[bytes], bytes]) -> Application:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        content = answer(body)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return app


def raw_constant() -> Application:
    """Answer the same bytes to everything: what the server and the socket cost."""
    return _raw(lambda _body: b'{"predictions":[[0.0,0.0,0.0]]}')


def raw_unvalidated() -> Application:
    """Parse with orjson, run, answer; nothing is checked, no id, no limit, no counter."""
    run = _model()

    def answer(body: bytes) -> bytes:
        request = orjson.loads(body)
        rows = request["data"] if "data" in request else [list(row.values()) for row in request["rows"]]
        return orjson.dumps({"predictions": run(np.array(rows, dtype=np.float32))}, option=orjson.OPT_SERIALIZE_NUMPY)

    return _raw(answer)


def _plain_schemas() -> tuple[type[BaseModel], type[BaseModel]]:
    fields: dict[str, Any] = dict.fromkeys(_columns(), (float, ...))
    row = create_model("Row", **fields)
    request = create_model(
        "Request", model=(str, ...), rows=(list[row] | None, None), data=(list[list[float]] | None, None)
    )  # type: ignore[valid-type]  # `row` is made here
    answer = create_model("Answer", predictions=(list[list[float]], ...))
    return request, answer


def _plain(request: Any) -> NDArray[np.float32]:
    rows = [list(row.model_dump().values()) for row in request.rows] if request.rows is not None else request.data
    return np.array(rows, dtype=np.float32)


def plain_async() -> FastAPI:
    """FastAPI as its tutorial writes it, with an `async def` route."""
    app, run = FastAPI(), _model()
    request_type, answer_type = _plain_schemas()

    async def predict(request: Any) -> dict[str, Any]:
        return {"predictions": run(_plain(request)).tolist()}

    predict.__annotations__["request"] = request_type
    app.post("/predict", response_model=answer_type)(predict)
    return app


def plain_def() -> FastAPI:
    """FastAPI as its tutorial writes it, with a `def` route, which it runs in a thread."""
    app, run = FastAPI(), _model()
    request_type, answer_type = _plain_schemas()

    def predict(request: Any) -> dict[str, Any]:
        return {"predictions": run(_plain(request)).tolist()}

    predict.__annotations__["request"] = request_type
    app.post("/predict", response_model=answer_type)(predict)
    return app
