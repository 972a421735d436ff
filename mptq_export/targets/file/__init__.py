"""Rules of a target's files, checked by reading the ONNX file alone: what emits a file has no part in it."""
