"""One function for each ONNX op that the interpreter computes."""
