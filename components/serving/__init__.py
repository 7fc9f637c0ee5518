"""The ONNX model as it ships, and the process that it answers in."""
