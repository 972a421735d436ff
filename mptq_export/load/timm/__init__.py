"""timm: its names, configurations and conversions, and the ways to one of its models."""
