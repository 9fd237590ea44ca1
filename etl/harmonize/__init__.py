"""From the publisher's words to one vocabulary: ids, units, structures, cell lines, genes.

What belongs here: pure translations of reported frames (``schemas/reported.py``) into the columns of the core
tables, and the reference tables they rest on. What does not: reading a publisher's file (``etl/sources``) and
writing a table (``etl/warehouse``). PubChem is the only service asked, and only through ``pubchem.py``.
"""
