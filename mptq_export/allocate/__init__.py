"""Greedy MP: a bit-width for every layer, under a budget."""
