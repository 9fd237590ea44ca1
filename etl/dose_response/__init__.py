"""Dose-response curves: the Hill model and its fit to viabilities.

``hill`` holds the formulas, ``fit`` the least squares. Arrays and plain frames in and out: nothing here knows
a file, a publisher's metric or a warehouse table.
"""
