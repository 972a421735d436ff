"""Models of Hugging Face transformers, from the folders that it writes; the library is an optional extra."""
