"""A file in another runtime: whole, in integers, and right?"""
