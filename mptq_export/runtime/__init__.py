"""onnxruntime as the house uses it: sessions, a graph's one input, and what images become for it."""
