"""Tests of data in COCO's format."""
