"""Function-preserving rewrites of the canonical graph, one file a rewrite; `prepare` applies them in order."""
