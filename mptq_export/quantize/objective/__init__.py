"""What is minimised: how far the outputs diverge from the float model's, and how much every row counts for it."""
