"""Work that several processes share, each with a device of its own: `group.py` says what it looks like."""
