"""What of a detector is float by nature as standard ONNX ops: the same steps as `mptq_export/detect`, in one graph."""
