"""One walk through the graph, layer by layer, on the values of the model that is quantized so far."""
