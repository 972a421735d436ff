"""The kit of a portable file: outputs that a device may miss by as much as was measured, not by more."""
