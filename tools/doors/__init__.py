"""Every kind of file that people have: written by the library that writes it, read, exported and compared.

A kind is a function in `kinds/` that writes a small model into a folder with its own library, and says what the library
computes with it, or why it has to be refused.
"""
