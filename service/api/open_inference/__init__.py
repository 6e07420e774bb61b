"""The Open Inference Protocol, version 2, over HTTP: what clients of Triton, KServe and MLServer speak."""
