"""A client of the calls under test: gRPC's own channel and the messages, no code of the server."""

from typing import Any

import grpc
import numpy as np
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from service.api.rpc import open_inference_pb2 as pb

_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]

PATIENCE_S = 60.0
"""A call on a loaded machine."""


class RpcClient:
    """A channel to a server on this machine.

    Args:
        port: Where it listens.

    Attributes:
        port: The same.
        channel: The channel.
    """

    def __init__(self, port: int) -> None:
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),  # each client has a connection of its own
        ]
        self.port = port
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)

    def close(self) -> None:
        """Close the channel."""
        self.channel.close()

    def plain(self, method: str) -> Any:
        """Return what calls a method with bytes, whether there is one or not."""
        call: Any = self.channel.unary_unary(f"/{_SERVICE.full_name}/{method}")
        return call

    def multi(self, method: str, *, plain: bool = False) -> Any:
        """Return what calls a method, by the descriptor of the service; `plain` for requests that are bytes."""
        told = _SERVICE.methods_by_name[method]
        make = self.channel.stream_stream if told.client_streaming else self.channel.unary_unary
        return make(
            f"/{_SERVICE.full_name}/{method}",
            request_serializer=None if plain else _written,
            response_deserializer=GetMessageClass(told.output_type).FromString,
        )

    def call(self, method: str, request: Message, timeout: float = PATIENCE_S, **more: Any) -> Any:
        """Return the answer to one request."""
        return self.multi(method)(request, timeout=timeout, **more)

    def infer(self, model: str, *inputs: pb.ModelInferRequest.InferInputTensor, **more: Any) -> pb.ModelInferResponse:
        """Return the answer to tensors."""
        answer: pb.ModelInferResponse = self.call("ModelInfer", request(model, *inputs, **more))
        return answer

    def refused(self, method: str, asked: Message, **more: Any) -> grpc.RpcError:
        """Return how a call ended that must not be answered."""
        try:
            answered = self.call(method, asked, **more)
        except grpc.RpcError as error:
            return error
        raise AssertionError(answered)


def request(model: str, *inputs: pb.ModelInferRequest.InferInputTensor, **more: Any) -> pb.ModelInferRequest:
    """Return a request."""
    return pb.ModelInferRequest(model_name=model, inputs=inputs, **more)


def tensor(
    name: str, datatype: str, shape: list[int], place: str = "", data: list[Any] | None = None
) -> pb.ModelInferRequest.InferInputTensor:
    """Return a tensor, with its elements where a place is told."""
    contents = pb.InferTensorContents(**{place: data}) if place else None
    return pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape, contents=contents)


def numbers(data: list[float], datatype: str = "FP64", name: str = "numeric") -> pb.ModelInferRequest.InferInputTensor:
    """Return a tensor of rows of two numbers."""
    place = {"FP64": "fp64_contents", "FP32": "fp32_contents"}[datatype]
    return tensor(name, datatype, [len(data) // 2, 2], place, data)


def outputs(answer: pb.ModelInferResponse) -> dict[str, list[Any]]:
    """Return the typed outputs by name."""
    found = {}
    for output in answer.outputs:
        ((_field, values),) = output.contents.ListFields()
        found[output.name] = np.reshape(list(values), list(output.shape)).tolist()
    return found


def flag(value: bool) -> pb.InferParameter:
    """Return a parameter that is true or false."""
    return pb.InferParameter(bool_param=value)


def _written(message: Message) -> bytes:
    return message.SerializeToString()
