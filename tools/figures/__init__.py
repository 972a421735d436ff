"""The figures of docs/benchmarks.md and README.md: measured, kept as JSON, and written into the pages.

A table is a module here: what rows it has, how one is measured, and how it reads. All rows of a table are of one
commit.
"""
