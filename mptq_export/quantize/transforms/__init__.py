"""What is searched of function-preserving transforms: SQ-b."""
