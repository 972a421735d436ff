"""Reading checkpoints into timm models."""
