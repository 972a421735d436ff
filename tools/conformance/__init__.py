"""Do the modules of a library come out exact? Timm's registry, transformers, torchvision, vit-pytorch, torch itself."""
