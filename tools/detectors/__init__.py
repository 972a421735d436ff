"""How the demo's detectors learn from scenes of digits: a loss each, averaged weights, and their AP."""
