"""Scenes of digits: a detection data set that anyone can make.

scikit-learn's handwritten digits (8x8 grey values) in random sizes, rotations, contrasts and colours on synthetic
textured images, with exact boxes and masks. Ten classes; train and test scenes show different digits. It is no COCO:
it says how much a detector loses by quantization, not how good a detector is.
"""
