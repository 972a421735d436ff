"""One walk through the graph, node by node, on the values of the model that is quantized so far: `walk.py` has it."""
