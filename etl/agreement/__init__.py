"""Agreement between datasets that tested the same compound in the same context.

Here: which conditions correspond (``matching``), how alike two effect profiles are (``similarity``), and the
two applied to effects in long form (``compare``). Not here: estimating effects (``etl.effects``), rounding
doses (``etl.harmonize``), reading or writing tables (``etl.warehouse``).
"""
