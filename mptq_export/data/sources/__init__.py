"""Where calibration inputs come from, a file a kind."""
