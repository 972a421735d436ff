"""Loading by torchvision."""
