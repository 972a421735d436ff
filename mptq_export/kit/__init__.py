"""The verification kit: one exported model, golden values, and small runners for the device that will run it."""
