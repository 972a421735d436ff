"""What a file is verified on."""
