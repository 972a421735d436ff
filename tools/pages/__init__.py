"""The pages that are for following: their commands are run as they stand there, and print what is shown."""
