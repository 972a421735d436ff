"""Mean intersection over union of a file's map of classes, alone and beside its float model, by label maps."""
