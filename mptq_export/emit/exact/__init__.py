"""The exact form: every value as codes, or as floats that no order of sums changes."""
