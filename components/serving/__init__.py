"""The ONNX model as it ships, and the process in which it predicts."""
