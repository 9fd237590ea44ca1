"""Differential expression: treated against control samples of the same plates, with moderated variances.

:func:`etl.effects.estimate.estimate_effects` is the entry. The other modules hold one concept each: the
design graph, least squares, count filter, normalization, lowess, voom weights, variance moderation, t
tails, and multiple testing. Arrays in, arrays out: nothing here knows a file, and only ``fit_unit``, where
arrays become rows, knows the tables.
"""
