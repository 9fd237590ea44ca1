"""Dose-response curves: the log-logistic model and its fit to viabilities and growth rates.

``hill`` and ``growth_rate`` hold the formulas, ``fit`` what is said about a fit, ``kernel`` the least squares
and ``reconcile`` how recomputed metrics compare with published ones. Arrays and frames in and out: nothing
here knows a file or writes a table.
"""
