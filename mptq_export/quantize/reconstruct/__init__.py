"""Learned rounding (`--reconstruct`): a recipe in, a recipe with learned numbers out; `run.py` has it."""
