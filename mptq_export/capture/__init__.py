"""timm model -> a small graph of canonical ops, named by module path."""
