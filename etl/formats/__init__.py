"""Readers of exchange formats: a file in, arrays and frames out.

Here: what a format promises, and a refusal that names file, place and rule where a file breaks it. Not
here: which dataset a file belongs to, what its identifiers and sentinels mean (``etl.sources``), or
harmonization.
"""
