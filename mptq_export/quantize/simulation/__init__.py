"""The numbers of the emitted graph, in torch."""
