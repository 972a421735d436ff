"""Torchvision's detectors, whatever their backbone: which parts of them are networks, and what is float by nature."""
