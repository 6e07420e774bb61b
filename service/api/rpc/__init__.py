"""The Open Inference Protocol over gRPC, beside HTTP in the same event loop; needs the extra `grpc`."""
