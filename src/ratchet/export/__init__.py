"""Writes a model as an ONNX file, which answers where there is no Python."""
