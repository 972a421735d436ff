"""Accuracy of an exported file on a folder of images, alone and beside its float model."""
