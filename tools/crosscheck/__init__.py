"""The same file on other CPUs, runtimes and versions; see README.md.

The modules that run on other machines import NumPy, onnx, onnxruntime and each other, and nothing of the project.
"""
