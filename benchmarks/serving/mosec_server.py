"""The same model behind Mosec: a front in Rust, workers in Python, requests joined in batches; nothing is validated.

    python mosec_server.py --port PORT

Source of the interface: Mosec's documentation, `mosec.Server.append_worker`.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import orjson
from mosec import Server, Worker

MAX_BATCH = 16
MAX_WAIT_MS = 1
"""The least that Mosec takes; 16 is as many as there are connections."""


class Predict(Worker):  # type: ignore[misc]  # Mosec tells no types
    """Answers a list of requests in one run."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = Path(os.environ["NALU_BENCHMARK_MODEL"]) / "model.onnx"
        self._session = ort.InferenceSession(model.read_bytes(), options)

    def deserialize(self, data: bytes) -> Any:
        """Return the rows of a request."""
        request = orjson.loads(data)
        return request["data"] if "data" in request else [list(row.values()) for row in request["rows"]]

    def serialize(self, data: Any) -> bytes:
        """Return the bytes of an answer."""
        return orjson.dumps({"predictions": data}, option=orjson.OPT_SERIALIZE_NUMPY)

    def forward(self, data: list[Any]) -> list[Any]:
        """Run the rows of all requests, and part the answers."""
        rows = np.array([row for request in data for row in request], dtype=np.float32)
        (answers,) = self._session.run(["predictions"], {"numeric": rows})
        ends = np.cumsum([len(request) for request in data])[:-1]
        return [np.ascontiguousarray(part) for part in np.split(answers, ends)]


if __name__ == "__main__":
    server = Server()
    server.append_worker(Predict, num=1, max_batch_size=MAX_BATCH, max_wait_time=MAX_WAIT_MS, route="/predict")
    server.run()
