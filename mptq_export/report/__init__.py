"""The report of an export: one page for people, made from the files that the export wrote."""
