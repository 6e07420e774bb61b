"""The calls of `GRPCInferenceService`: gRPC here, meaning in the plane that the routes stand on too."""

import time
from typing import Final

from service.api.open_inference import plane
from service.api.open_inference.statistics import model_statistics
from service.api.predictions import INLINE_BODY_BYTES
from service.api.routes import State
from service.api.rpc import open_inference_pb2 as pb
from service.api.rpc.messages import (
    config_message,
    metadata_message,
    read_infer,
    statistics_message,
    write_infer,
)
from service.api.rpc.metadata import Context
from service.errors import ModelNotReadyError
from service.inference.session import ModelSession

SERVICE: Final = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name

STREAM_METHOD: Final = "ModelStreamInfer"


class Calls:
    """What each call answers.

    Args:
        state: What the application holds.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    async def server_live(self, _request: pb.ServerLiveRequest, _context: Context) -> pb.ServerLiveResponse:
        """Answer as long as the process does."""
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, _request: pb.ServerReadyRequest, _context: Context) -> pb.ServerReadyResponse:
        """Tell whether the active version of every model can answer and no stop has begun."""
        return pb.ServerReadyResponse(ready=plane.is_ready(self._state["registry"], self._state["draining"]))

    async def model_ready(self, request: pb.ModelReadyRequest, _context: Context) -> pb.ModelReadyResponse:
        """Tell whether a model can answer.

        Raises:
            ModelNotFoundError: When there is none.
        """
        try:
            self._session(request.name, request.version)
        except ModelNotReadyError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=not self._state["draining"].begun)

    async def server_metadata(self, _request: pb.ServerMetadataRequest, _context: Context) -> pb.ServerMetadataResponse:
        """Tell name, version and extensions of the protocol."""
        told = plane.server_metadata()
        return pb.ServerMetadataResponse(name=told.name, version=told.version, extensions=told.extensions)

    async def model_metadata(self, request: pb.ModelMetadataRequest, _context: Context) -> pb.ModelMetadataResponse:
        """Tell the tensors that a model takes and answers."""
        session = self._session(request.name, request.version)
        return metadata_message(plane.model_metadata(self._state["registry"], session))

    async def model_config(self, request: pb.ModelConfigRequest, _context: Context) -> pb.ModelConfigResponse:
        """Tell a model's configuration in Triton's words."""
        session = self._session(request.name, request.version)
        return config_message(plane.model_config(session, self._state["settings"].max_rows))

    async def repository_index(
        self, request: pb.RepositoryIndexRequest, _context: Context
    ) -> pb.RepositoryIndexResponse:
        """Tell every version with its state, or those alone that are ready."""
        entries = plane.repository_entries(self._state["registry"])
        listed = [
            pb.RepositoryIndexResponse.ModelIndex(
                name=entry.name, version=entry.version, state=entry.state, reason=entry.reason
            )
            for entry in entries
            if entry.state == "READY" or not request.ready
        ]
        return pb.RepositoryIndexResponse(models=listed)

    async def load(self, request: pb.RepositoryModelLoadRequest, _context: Context) -> pb.RepositoryModelLoadResponse:
        """Serve a model that was unloaded, and try again what could not be loaded."""
        await plane.load(self._state["administration"], request.model_name, request.parameters)
        return pb.RepositoryModelLoadResponse()

    async def unload(
        self, request: pb.RepositoryModelUnloadRequest, _context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        """Serve no version of a model until it is loaded again."""
        await plane.unload(self._state["administration"], request.model_name, request.parameters)
        return pb.RepositoryModelUnloadResponse()

    async def model_statistics(
        self, request: pb.ModelStatisticsRequest, _context: Context
    ) -> pb.ModelStatisticsResponse:
        """Tell what was counted of one version, of a model, or of all."""
        totals = self._state["counts"].totals()
        return statistics_message(model_statistics(self._state["registry"], totals, request.name, request.version))

    async def model_infer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        """Answer tensors; large ones in a thread, in their turn, and no longer than the client waits."""
        session = self._session(request.model_name, request.model_version)
        if session.manifest.sequence is None and request.ByteSize() <= INLINE_BODY_BYTES:
            return self._answer(session, request, None)
        async with self._state["admission"].place() as place:
            await place.turn()
            patience_s = context.time_remaining()
            left_s = place.remaining_s if patience_s is None else min(place.remaining_s, patience_s)
            return await place.run(self._answer, session, request, time.monotonic() + left_s)

    async def stream_infer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelStreamInferResponse:
        """Answer one request of a stream."""
        answer = await self.model_infer(request, context)
        if request.parameters["triton_enable_empty_final_response"].bool_param:
            answer.parameters["triton_final_response"].bool_param = True
        return pb.ModelStreamInferResponse(infer_response=answer)

    def refused_in_stream(self, request: pb.ModelInferRequest, why: str) -> pb.ModelStreamInferResponse:
        """Tell why a request of a stream is not answered; the stream goes on."""
        return pb.ModelStreamInferResponse(
            error_message=why,
            infer_response=pb.ModelInferResponse(
                model_name=request.model_name, model_version=request.model_version, id=request.id
            ),
        )

    def _session(self, name: str, version: str) -> ModelSession:
        return plane.asked_session(self._state["registry"], name, version)

    def _answer(
        self, session: ModelSession, request: pb.ModelInferRequest, ends_at: float | None
    ) -> pb.ModelInferResponse:
        asked = read_infer(request)
        deadline_s = None if ends_at is None else max(0.0, ends_at - time.monotonic())
        outputs = plane.infer(session, asked.tensors, asked.outputs, self._state["settings"], deadline_s)
        return write_infer(session.manifest, request, outputs)
