"""Names that other projects give to the tensors of models that timm has too: one file a project."""
