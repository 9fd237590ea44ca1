"""Flags of a row as one list column: what is unusual about it, in the words of a closed vocabulary."""

from collections.abc import Mapping

import polars as pl


def flag_list(rules: Mapping[str, pl.Expr]) -> pl.Expr:
    """Return for each row the flags whose rule holds, in the order of the rules; a null rule does not hold.

    >>> rules = {"low": pl.col("x") < 1, "odd": pl.col("x") % 2 == 1}
    >>> pl.DataFrame({"x": [-1, 2, None]}).select(flags=flag_list(rules))["flags"].to_list()
    [['low', 'odd'], [], []]
    """
    return pl.concat_list(pl.when(rule).then(pl.lit(flag)) for flag, rule in rules.items()).list.drop_nulls()
