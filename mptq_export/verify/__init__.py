"""Runs onnxruntime and `kernels_ref` side by side on one file, and reads back which kernels really ran."""
