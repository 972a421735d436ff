"""Runtimes other than onnxruntime's CPU provider: a file a runtime, behind one interface."""
