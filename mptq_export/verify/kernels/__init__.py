"""Which kernels onnxruntime runs: read back from its optimised graph, and held against those of `kernels_ref`."""
