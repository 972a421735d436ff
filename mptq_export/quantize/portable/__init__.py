"""The portable form: where its codes are, how they are chosen, and the numbers that such a file computes with."""
