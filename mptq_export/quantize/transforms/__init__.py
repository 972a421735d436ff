"""What is searched of function-preserving transforms (SQ-b), and the check that a transform preserved the function."""
