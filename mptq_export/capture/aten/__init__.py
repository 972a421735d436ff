"""From ATen ops to canonical ops: a file for every kind of op, and their table."""
