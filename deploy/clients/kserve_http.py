"""KServe's client over HTTP, both protocols: kserve_http.py HOST:PORT REPOSITORY."""

import asyncio
import sys

from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from starters import Starter, read_starters, tell


def request_of(starter: Starter, *, binary: bool) -> InferRequest:
    """Return a request in the second protocol."""
    inputs = []
    for name, array in starter.tensors.items():
        one = InferInput(name, list(array.shape), starter.datatype(name))
        one.set_data_from_numpy(array, binary_data=binary)
        inputs.append(one)
    return InferRequest(model_name=starter.name, infer_inputs=inputs, request_id="r7")


async def main() -> None:
    """Ask every model."""
    url, repository = f"http://{sys.argv[1]}", sys.argv[2]
    second = InferenceRESTClient(RESTConfig(protocol="v2"))
    first = InferenceRESTClient(RESTConfig(protocol="v1"))
    assert await second.is_server_live(url)
    assert await second.is_server_ready(url)
    n_calls = 2
    for starter in read_starters(repository):
        assert await second.is_model_ready(url, starter.name)
        assert await first.is_model_ready(url, starter.name)
        for binary in (True, False):
            answer = await second.infer(url, request_of(starter, binary=binary), model_name=starter.name)
            predictions = next(output for output in answer.outputs if output.name == "predictions")
            starter.check(predictions.as_numpy(), f"second protocol, binary={binary}")
        told = await first.infer(url, {"instances": starter.rows}, model_name=starter.name)
        found = [
            [row[name] for name in starter.outputs] if isinstance(row, dict) else row for row in told["predictions"]
        ]
        starter.check(found, "first protocol")
        n_calls += 5
    tell("KServe's client over HTTP", n_calls)


asyncio.run(main())
