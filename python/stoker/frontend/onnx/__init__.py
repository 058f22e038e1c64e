"""ONNX: from a file to a trainable nn.Module."""
