"""Profiles of ONNX: what a file must look like besides being valid, as rules that read the file alone."""
