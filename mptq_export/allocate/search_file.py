"""A search as a file: OUT.search.json of a finished one, the journal OUT.search.jsonl of an interrupted one."""
