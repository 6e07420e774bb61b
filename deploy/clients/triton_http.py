"""tritonclient over HTTP, sync and asyncio: triton_http.py HOST:PORT REPOSITORY HOST:PORT-WITH-KEYS ADMIN-KEY."""

import asyncio
import sys

import tritonclient.http as client
import tritonclient.http.aio as aio
from starters import Starter, read_starters, refused, tell


def inputs_of(module: object, starter: Starter, *, binary: bool) -> list[object]:
    """Return a request's tensors."""
    inputs = []
    for name, array in starter.tensors.items():
        one = module.InferInput(name, list(array.shape), starter.datatype(name))  # type: ignore[attr-defined]
        one.set_data_from_numpy(array, binary_data=binary)
        inputs.append(one)
    return inputs


async def asked_async(url: str, starters: list[Starter]) -> int:
    """Ask every model over asyncio."""
    async with aio.InferenceServerClient(url) as server:
        for starter in starters:
            answer = await server.infer(starter.name, inputs_of(aio, starter, binary=True))
            starter.check(answer.as_numpy("predictions"), "asyncio")
    return len(starters)


def main() -> None:
    """Make every call that the client has."""
    url, repository, guarded, key = sys.argv[1:]
    starters = read_starters(repository)
    server = client.InferenceServerClient(url, concurrency=2)
    assert server.is_server_live()
    assert server.is_server_ready()
    assert server.get_server_metadata()["name"] == "nalu-serving"
    listed = {model["name"]: model["state"] for model in server.get_model_repository_index()}
    assert listed == {starter.name: "READY" for starter in starters}, listed
    n_calls = 4
    for starter in starters:
        assert server.is_model_ready(starter.name)
        assert not server.is_model_ready(starter.name, "9")
        told = server.get_model_metadata(starter.name, "1")
        assert {tensor["name"]: tensor["datatype"] for tensor in told["inputs"]} == {
            name: starter.datatype(name) for name in starter.tensors
        }
        assert server.get_model_config(starter.name)["backend"] == "onnxruntime"
        for binary in (True, False):
            for packing in (None, "gzip", "deflate"):
                wanted = [client.InferRequestedOutput("predictions", binary_data=binary)]
                answer = server.infer(
                    starter.name,
                    inputs_of(client, starter, binary=binary),
                    outputs=wanted,
                    request_id="r7",
                    request_compression_algorithm=packing,
                    response_compression_algorithm=packing,
                )
                assert answer.get_response()["id"] == "r7"
                starter.check(answer.as_numpy("predictions"), f"binary={binary}, {packing}")
        pending = server.async_infer(starter.name, inputs_of(client, starter, binary=True))
        starter.check(pending.get_result().as_numpy("predictions"), "async_infer")
        statistics = server.get_inference_statistics(starter.name)["model_stats"][0]
        assert statistics["inference_stats"]["success"]["count"] >= 7, statistics
        n_calls += 12
    first = inputs_of(client, starters[0], binary=True)
    for call, *words in (
        (lambda: server.infer("unknown", first), "not published"),
        (lambda: server.infer(starters[0].name, first, sequence_id=7), "keep nothing"),
        (lambda: server.load_model(starters[0].name), "admin key"),
        (lambda: server.unload_model(starters[0].name), "admin key"),
        (server.get_trace_settings, "nothing at this path"),
        (server.get_log_settings, "nothing at this path"),
        (server.get_system_shared_memory_status, "nothing at this path"),
        (server.get_cuda_shared_memory_status, "nothing at this path"),
        (lambda: server.register_system_shared_memory("a", "b", 8), "nothing at this path"),
    ):
        refused(call, *words)
        n_calls += 1
    with_keys = client.InferenceServerClient(guarded)
    headers = {"Authorization": f"Bearer {key}"}
    refused(lambda: with_keys.infer(starters[0].name, first), "API key")
    with_keys.unload_model(starters[0].name, headers=headers)
    assert not with_keys.is_model_ready(starters[0].name, headers=headers)
    refused(lambda: with_keys.load_model(starters[0].name, headers=headers, config="{}"), "as it was published")
    with_keys.load_model(starters[0].name, headers=headers)
    assert with_keys.is_model_ready(starters[0].name, headers=headers)
    tell("tritonclient over HTTP", n_calls + 6 + asyncio.run(asked_async(url, starters)))


main()
