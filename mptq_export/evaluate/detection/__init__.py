"""Average precision of a detector's file, alone and beside its float model, on pictures with objects."""
