"""Ops on 8-bit codes: what a runtime makes of a float op between DequantizeLinear and QuantizeLinear.

Their bits are those of onnxruntime's kernels (domain `com.microsoft`), as measured with 1.32 on x86-64 with AVX2.
"""
