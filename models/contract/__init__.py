"""The contract between training and serving: manifest, model repository, tables, errors.

Torch-free and onnx-free: both sides stand on it.
"""
