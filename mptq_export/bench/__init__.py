"""How fast an ONNX file runs in onnxruntime, beside others, and where its time goes."""
