"""Getting publishers' files into the raw folder.

Here: finding, downloading, verifying and unpacking what a dataset's ``SourceSpec`` names. Not here: reading
the files (``etl/sources``), and the references of identifiers, which a person puts into ``raw/reference``.
"""
