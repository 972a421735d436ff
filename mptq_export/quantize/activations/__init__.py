"""Activation quantizers: ranges, OPT-m levels, the grids of the residual stream."""
