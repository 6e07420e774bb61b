"""ovmsclient, TensorFlow Serving's REST API: ovms.py HOST:PORT REPOSITORY."""

import sys
from typing import Any

import numpy as np
import ovmsclient
from starters import read_starters, tell


def as_written(array: Any) -> Any:
    """Return a tensor as the client takes it: text as bytes, in a list where it is one column."""
    if array.dtype != object:
        return array
    packed = np.char.encode(array.astype(str), "utf-8")
    return packed.ravel().tolist() if array.shape[1] == 1 else packed


def main() -> None:
    """Ask every model: the client writes text in base64, as TensorFlow's strings."""
    url, repository = sys.argv[1:]
    server = ovmsclient.make_http_client(url=url)
    n_calls = 0
    for starter in read_starters(repository):
        status = server.get_model_status(model_name=starter.name)
        assert status[1]["state"] == "AVAILABLE", status
        told = server.get_model_metadata(model_name=starter.name)
        assert set(told["inputs"]) == set(starter.tensors), told
        inputs = {name: as_written(array) for name, array in starter.tensors.items()}
        answer = server.predict(inputs=inputs, model_name=starter.name)
        columns = [answer[name] for name in starter.outputs] if isinstance(answer, dict) else [answer]
        starter.check(np.column_stack(columns), "predict")
        n_calls += 3
    tell("ovmsclient", n_calls)


main()
