from pathlib import Path

import numpy as np
import polars as pl
import pytest

from etl.errors import BadInputError
from etl.formats.matrix import AnnotatedMatrix, require_identifiers


def test_identifiers_that_are_unique_pass():
    require_identifiers(["a", "b"], "row", Path("m.gct"))


@pytest.mark.parametrize(
    ("ids", "rule"),
    [
        (["a", "b", "a"], "m.gct.*column ids are unique.*'a'.*column 3"),
        (["a", ""], "m.gct.*column 2 of 2 has none"),
    ],
)
def test_identifiers_repeated_or_empty_are_refused(ids, rule):
    with pytest.raises(BadInputError, match=rule):
        require_identifiers(ids, "column", Path("folder/m.gct"))


def test_values_are_samples_by_genes():
    axes = {
        "row_ids": ["g1", "g2"],
        "column_ids": ["s1"],
        "row_metadata": pl.DataFrame({"id": ["g1", "g2"]}),
        "column_metadata": pl.DataFrame({"id": ["s1"]}),
    }
    assert AnnotatedMatrix(**axes, values=np.zeros((1, 2), np.float32)).values.shape == (1, 2)
    with pytest.raises(AssertionError):
        AnnotatedMatrix(**axes, values=np.zeros((2, 1), np.float32))
