"""The classical model: scikit-learn fitted on the arrays that the network learns from, written as ONNX."""
