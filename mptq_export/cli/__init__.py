"""Command-line entry points, one file a console script."""
