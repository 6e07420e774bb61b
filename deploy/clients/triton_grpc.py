"""tritonclient over gRPC, sync and asyncio: triton_grpc.py HOST:PORT REPOSITORY HOST:PORT-WITH-KEYS ADMIN-KEY."""

import asyncio
import queue
import sys
from collections.abc import AsyncIterator

import tritonclient.grpc as client
import tritonclient.grpc.aio as aio
from starters import Starter, read_starters, refused, tell

PATIENCE_S = 60


def inputs_of(starter: Starter) -> list[object]:
    """Return a request's tensors."""
    inputs = []
    for name, array in starter.tensors.items():
        one = client.InferInput(name, list(array.shape), starter.datatype(name))
        one.set_data_from_numpy(array)
        inputs.append(one)
    return inputs


async def asked_async(url: str, starters: list[Starter]) -> int:
    """Ask every model over asyncio, alone and in a stream."""
    async with aio.InferenceServerClient(url) as server:
        for starter in starters:
            answer = await server.infer(starter.name, inputs_of(starter))
            starter.check(answer.as_numpy("predictions"), "asyncio")

        async def wishes() -> AsyncIterator[dict[str, object]]:
            for starter in starters:
                yield {"model_name": starter.name, "inputs": inputs_of(starter)}

        answers = [answer async for answer in server.stream_infer(wishes())]
        for starter, (result, error) in zip(starters, answers, strict=True):
            assert error is None, error
            starter.check(result.as_numpy("predictions"), "asyncio, stream")
    return 2 * len(starters)


def main() -> None:
    """Make every call that the client has."""
    url, repository, guarded, key = sys.argv[1:]
    starters = read_starters(repository)
    server = client.InferenceServerClient(url)
    assert server.is_server_live()
    assert server.is_server_ready()
    assert server.get_server_metadata().name == "nalu-serving"
    listed = {model.name: model.state for model in server.get_model_repository_index().models}
    assert listed == {starter.name: "READY" for starter in starters}, listed
    n_calls = 4
    results: queue.Queue[tuple[object, object]] = queue.Queue()
    server.start_stream(lambda result, error: results.put((result, error)))
    for starter in starters:
        assert server.is_model_ready(starter.name)
        told = server.get_model_metadata(starter.name, "1")
        assert {tensor.name: tensor.datatype for tensor in told.inputs} == {
            name: starter.datatype(name) for name in starter.tensors
        }
        assert server.get_model_config(starter.name).config.backend == "onnxruntime"
        for packing in (None, "gzip", "deflate"):
            answer = server.infer(
                starter.name,
                inputs_of(starter),
                outputs=[client.InferRequestedOutput("predictions")],
                request_id="r7",
                compression_algorithm=packing,
                client_timeout=PATIENCE_S,
            )
            assert answer.get_response().id == "r7"
            starter.check(answer.as_numpy("predictions"), f"{packing}")
        server.async_infer(starter.name, inputs_of(starter), lambda result, error: results.put((result, error)))
        result, error = results.get(timeout=PATIENCE_S)
        assert error is None, error
        starter.check(result.as_numpy("predictions"), "async_infer")  # type: ignore[attr-defined]
        server.async_stream_infer(starter.name, inputs_of(starter), enable_empty_final_response=True)
        result, error = results.get(timeout=PATIENCE_S)
        assert error is None, error
        starter.check(result.as_numpy("predictions"), "stream")  # type: ignore[attr-defined]
        statistics = server.get_inference_statistics(starter.name).model_stats[0]
        assert statistics.inference_stats.success.count >= 5, statistics
        n_calls += 9
    server.stop_stream()
    first = inputs_of(starters[0])
    for call, *words in (
        (lambda: server.infer("unknown", first), "NOT_FOUND"),
        (lambda: server.is_model_ready(starters[0].name, "9"), "NOT_FOUND"),
        (lambda: server.infer(starters[0].name, first, sequence_id=7), "keep nothing"),
        (lambda: server.load_model(starters[0].name), "PERMISSION_DENIED"),
        (lambda: server.unload_model(starters[0].name), "PERMISSION_DENIED"),
        (server.get_trace_settings, "UNIMPLEMENTED"),
        (server.get_log_settings, "UNIMPLEMENTED"),
        (server.get_system_shared_memory_status, "UNIMPLEMENTED"),
        (server.get_cuda_shared_memory_status, "UNIMPLEMENTED"),
        (lambda: server.register_system_shared_memory("a", "b", 8), "UNIMPLEMENTED"),
    ):
        refused(call, *words)
        n_calls += 1
    with_keys = client.InferenceServerClient(guarded)
    headers = {"authorization": f"Bearer {key}"}
    refused(lambda: with_keys.infer(starters[0].name, first), "UNAUTHENTICATED")
    with_keys.unload_model(starters[0].name, headers=headers)
    assert not with_keys.is_model_ready(starters[0].name, headers=headers)
    refused(lambda: with_keys.load_model(starters[0].name, headers=headers, config="{}"), "as it was published")
    with_keys.load_model(starters[0].name, headers=headers)
    assert with_keys.is_model_ready(starters[0].name, headers=headers)
    tell("tritonclient over gRPC", n_calls + 6 + asyncio.run(asked_async(url, starters)))


main()
