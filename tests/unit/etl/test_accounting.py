"""Row accounts balance, or are a mistake of ours."""

import pytest

from etl.accounting import RowAccount, total


def test_an_account_that_does_not_balance_is_refused() -> None:
    with pytest.raises(AssertionError, match="unbalanced"):
        RowAccount(n_in=3, n_out=1, dropped={"empty": 1})


def test_accounts_add_up_and_keep_their_reasons() -> None:
    parts = [RowAccount(3, 1, {"empty": 2}), RowAccount(2, 1, {"genetic": 1}, {"low_library": 1})]
    whole = total(parts)
    assert (whole.n_in, whole.n_out) == (5, 2)
    assert whole.dropped == {"empty": 2, "genetic": 1}
    assert total([]) == RowAccount(0, 0)
