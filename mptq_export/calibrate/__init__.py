"""Streaming statistics of what will be quantized."""
