"""KServe's client over gRPC: kserve_grpc.py HOST:PORT REPOSITORY."""

import asyncio
import sys

from kserve import InferenceGRPCClient, InferInput, InferRequest
from starters import read_starters, tell


async def main() -> None:
    """Ask every model."""
    server = InferenceGRPCClient(sys.argv[1])
    assert await server.is_server_live()
    assert await server.is_server_ready()
    n_calls = 2
    for starter in read_starters(sys.argv[2]):
        assert await server.is_model_ready(starter.name)
        for binary in (True, False):
            inputs = []
            for name, array in starter.tensors.items():
                one = InferInput(name, list(array.shape), starter.datatype(name))
                one.set_data_from_numpy(array, binary_data=binary)
                inputs.append(one)
            answer = await server.infer(InferRequest(model_name=starter.name, infer_inputs=inputs))
            predictions = next(output for output in answer.outputs if output.name == "predictions")
            starter.check(predictions.as_numpy(), f"binary={binary}")
        n_calls += 3
    tell("KServe's client over gRPC", n_calls)


asyncio.run(main())
