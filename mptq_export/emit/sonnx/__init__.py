"""The exact form spelled out for `--profile sonnx`: the same numbers, and nothing that a reader has to know of ONNX."""
