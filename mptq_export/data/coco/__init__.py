"""Pictures with objects in COCO's format: read, checked, and their categories found among a model's classes."""
