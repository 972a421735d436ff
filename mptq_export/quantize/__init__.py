"""Statistics -> quantizers: scales, zero points, weight codes and certified tables."""
