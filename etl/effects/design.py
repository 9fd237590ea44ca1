"""The design of one fit: samples as edges between conditions and plates, and what that graph can estimate.

Belongs here: labels to codes, the condition-plate graph, its rank, and the status of every contrast. Does not
belong here: expression values. All numbers follow from labels alone.

A sample of condition c on plate p is an edge of a bipartite graph. The model ``~ 0 + condition + plate``
has one free constant per connected component, so its rank is conditions + plates - components (the
classical result for two-way layouts without interaction), and a difference of two conditions is estimable
exactly when both lie in one component. With further blocking terms (``~ 0 + condition + plate + donor``)
there are more redundancies; :mod:`etl.effects.normal_equations` finds them by elimination.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from etl.arrays import IntArray
from etl.errors import BadInputError

Labels = Sequence[Any] | np.ndarray
Replicates = Literal["grouped", "separate"]


class ContrastStatus(StrEnum):
    """Whether a treated condition can be compared with the controls of its block."""

    ESTIMABLE = "estimable"
    NO_CONTROL = "no_control"
    """The block of the condition holds no control sample."""
    CONFOUNDED_WITH_PLATE = "confounded_with_plate"
    """No chain of shared plates (or other terms) and conditions leads from the condition to its control."""
    TOO_FEW_REPLICATES = "too_few_replicates"
    """The condition has fewer samples than were asked for."""
    NO_RESIDUAL_DF = "no_residual_df"
    """The whole fit has no replicate to take a variance from."""
    NO_TESTED_GENE = "no_tested_gene"
    """No gene of the whole fit passes the count filter; only :mod:`etl.effects.estimate` can tell."""


class ControlScope(StrEnum):
    """Where the controls of a condition stand."""

    SAME_PLATE = "same_plate"
    """Every plate of the condition holds a control of its block."""
    LINKED_PLATES = "linked_plates"
    """Some plate of the condition holds no control and is tied to one through shared conditions."""


@dataclass(frozen=True, slots=True)
class Design:
    """Integer codes of a layout of conditions on plates, its graph and its contrasts.

    Model conditions are numbered with the C treated conditions first and then one control condition per
    block. A *site* is a distinct combination of plate and further terms; a *cell* is a (condition, site)
    pair that holds at least one sample; cells are sorted by condition, site. The Q *columns* are the levels
    of all terms, plates first.
    """

    treated: np.ndarray
    """Labels of the C treated conditions: sorted, or in the order of samples if replicates are separate."""
    sample_of_treated: IntArray | None
    """Sample of each treated condition if replicates are separate, else None."""
    plates: np.ndarray
    """Labels of the P plates, sorted."""
    n_conditions: int
    """Model conditions K: treated ones and one control condition per block with controls."""
    condition: IntArray
    """Model condition of each of the N samples."""
    plate: IntArray
    """Plate of each sample."""
    site: IntArray
    """Site of each sample."""
    site_columns: IntArray
    """Columns of each site, S x terms."""
    column_term: IntArray
    """Term of each column, Q; 0 is the plate."""
    cell: IntArray
    """Cell of each sample."""
    cell_condition: IntArray
    """Model condition of each cell."""
    cell_site: IntArray
    """Site of each cell."""
    cell_size: IntArray
    """Samples in each cell."""
    condition_component: IntArray
    """Connected component of each model condition."""
    column_component: IntArray
    """Connected component of each column."""
    n_components: int
    """Connected components of the graph of conditions and columns."""
    control: IntArray
    """Model condition that is the control of each treated condition; -1 where its block has none."""

    @property
    def n_samples(self) -> int:
        """Samples N."""
        return len(self.condition)

    @property
    def n_treated(self) -> int:
        """Treated conditions C."""
        return len(self.treated)

    @property
    def n_plates(self) -> int:
        """Plates P."""
        return len(self.plates)

    @property
    def n_columns(self) -> int:
        """Columns Q: plates and levels of further terms."""
        return len(self.column_term)

    @property
    def column_occupied(self) -> npt.NDArray[np.bool_]:
        """Whether a sample stands on each column."""
        occupied = np.zeros(self.n_columns, dtype=bool)
        occupied[np.unique(self.site_columns[self.cell_site])] = True
        return occupied

    @property
    def n_terms(self) -> int:
        """Blocking terms: the plate and further ones."""
        return self.site_columns.shape[1]

    @property
    def condition_size(self) -> IntArray:
        """Samples in each model condition."""
        return np.bincount(self.condition, minlength=self.n_conditions)

    @property
    def condition_plates(self) -> IntArray:
        """Plates on which each model condition stands."""
        pairs = np.unique(self.condition * self.n_plates + self.plate)
        return np.bincount(pairs // max(self.n_plates, 1), minlength=self.n_conditions)

    @property
    def control_size(self) -> IntArray:
        """Control samples each treated condition is compared with."""
        if not self.n_treated:
            return np.zeros(0, dtype=np.int64)
        return np.where(self.control >= 0, self.condition_size[self.control], 0)


def build_design(
    condition: Labels,
    plate: Labels | None,
    is_control: npt.ArrayLike,
    *,
    block: Labels | None = None,
    terms: Mapping[str, Labels] | None = None,
    replicates: Replicates = "grouped",
) -> Design:
    """Return the design of samples that carry these labels.

    All controls of a block form one control condition, whatever their labels; without ``block`` there is
    one block. Labels are compared as they are: nothing is cleaned, so different labels never merge.

    Args:
        condition: one label per sample; ignored for controls.
        plate: one label per sample; None for one plate.
        is_control: True for control samples.
        block: one label per sample, such as the time point; conditions are compared with controls of their
            block.
        terms: further additive terms by name, such as the donor or the library, one label per sample.
        replicates: ``grouped`` makes samples of one label one condition, ``separate`` makes every treated
            sample a condition of its own.

    Raises:
        BadInputError: there is no sample, the labels differ in length, a label is missing, or a condition
            stands in several blocks.

    >>> d = build_design(["", "", "a", "", "b"], [1, 1, 1, 2, 3], [True, True, False, True, False])
    >>> d.treated.tolist(), d.control.tolist(), d.n_components
    (['a', 'b'], [2, 2], 2)
    """
    if replicates not in ("grouped", "separate"):
        raise ValueError(f"replicates are 'grouped' or 'separate', not {replicates!r}")
    if "plate" in (terms or {}):
        raise ValueError("a further term cannot be called 'plate': that is the first term already")
    control_mask = _checked_mask(is_control)
    n_samples = len(control_mask)
    conditions = _label_array(condition, "condition", n_samples, needed=~control_mask)
    everywhere = np.ones(n_samples, dtype=bool)
    term_labels = {"plate": np.zeros(n_samples, dtype=np.int64) if plate is None else plate} | dict(
        terms or {}
    )
    term_arrays = {
        name: _label_array(labels, name, n_samples, needed=everywhere) for name, labels in term_labels.items()
    }
    block_labels = (
        np.zeros(n_samples, dtype=np.int64)
        if block is None
        else _label_array(block, "block", n_samples, needed=everywhere)
    )

    treated_samples = np.flatnonzero(~control_mask)
    treated, treated_code = np.unique(conditions[treated_samples], return_inverse=True)
    blocks, block_code = np.unique(block_labels, return_inverse=True)
    of_condition = _block_of_conditions(treated, treated_code, block_code[treated_samples], blocks)
    if replicates == "separate":
        treated, treated_code = conditions[treated_samples], np.arange(len(treated_samples))
        of_condition = block_code[treated_samples]

    control_blocks, control_code = np.unique(block_code[control_mask], return_inverse=True)
    codes = np.empty(n_samples, dtype=np.int64)
    codes[treated_samples] = treated_code
    codes[control_mask] = len(treated) + control_code
    n_conditions = len(treated) + len(control_blocks)
    control_of_block = np.full(len(blocks), -1, dtype=np.int64)
    control_of_block[control_blocks] = len(treated) + np.arange(len(control_blocks))

    columns, column_term, levels = _columns(list(term_arrays.values()))
    site_columns, site = np.unique(columns, axis=0, return_inverse=True)
    site = site.ravel().astype(np.int64)
    cell_key, cell, cell_size = np.unique(
        codes * len(site_columns) + site, return_inverse=True, return_counts=True
    )
    cell_condition, cell_site = np.divmod(cell_key, len(site_columns))
    n_components, component = _components(
        cell_condition, site_columns[cell_site], n_conditions, len(column_term)
    )
    return Design(
        treated=treated,
        sample_of_treated=treated_samples if replicates == "separate" else None,
        plates=levels[0],
        n_conditions=n_conditions,
        condition=codes,
        plate=columns[:, 0],
        site=site,
        site_columns=site_columns,
        column_term=column_term,
        cell=cell.astype(np.int64),
        cell_condition=cell_condition,
        cell_site=cell_site,
        cell_size=cell_size.astype(np.int64),
        condition_component=component[:n_conditions],
        column_component=component[n_conditions:],
        n_components=n_components,
        control=control_of_block[of_condition],
    )


def control_design(design: Design) -> tuple[Design, IntArray]:
    """Return the design of the control samples alone, with the columns of the whole, and these samples.

    With every treated sample a condition of its own, treated samples say nothing about columns and variances:
    this design gives the levels that they are compared with, and the residual degrees of freedom.
    """
    samples = np.flatnonzero(design.condition >= design.n_treated)
    codes = design.condition[samples] - design.n_treated
    n_conditions = design.n_conditions - design.n_treated
    cell_key, cell, cell_size = np.unique(
        codes * len(design.site_columns) + design.site[samples], return_inverse=True, return_counts=True
    )
    cell_condition, cell_site = np.divmod(cell_key, len(design.site_columns))
    n_components, component = _components(
        cell_condition, design.site_columns[cell_site], n_conditions, design.n_columns
    )
    alone = replace(
        design,
        treated=design.treated[:0],
        sample_of_treated=None,
        n_conditions=n_conditions,
        condition=codes,
        plate=design.plate[samples],
        site=design.site[samples],
        cell=cell.astype(np.int64),
        cell_condition=cell_condition,
        cell_site=cell_site,
        cell_size=cell_size.astype(np.int64),
        condition_component=component[:n_conditions],
        column_component=component[n_conditions:],
        n_components=n_components,
        control=design.control[:0],
    )
    return alone, samples


def control_scopes(design: Design) -> list[ControlScope]:
    """Return the control scope of every treated condition, C; it means something for estimable ones."""
    cell_plate = design.site_columns[design.cell_site, 0]
    width = design.n_plates
    held = np.unique(design.cell_condition * width + cell_plate)
    of_treated = np.flatnonzero(design.cell_condition < design.n_treated)
    condition = design.cell_condition[of_treated]
    wanted = design.control[condition] * width + cell_plate[of_treated]
    away = np.zeros(design.n_treated, dtype=bool)
    away[condition[~np.isin(wanted, held)]] = True
    return [ControlScope.LINKED_PLATES if far else ControlScope.SAME_PLATE for far in away.tolist()]


def _checked_mask(is_control: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    control_mask = np.asarray(is_control)
    if control_mask.dtype != np.bool_ or control_mask.ndim != 1:
        raise BadInputError("is_control must be one True or False per sample", column="is_control")
    if len(control_mask) == 0:
        raise BadInputError("there is no sample to fit")
    return control_mask


def _columns(terms: list[np.ndarray]) -> tuple[IntArray, IntArray, list[np.ndarray]]:
    """Return the column of each sample in each term (N x terms), the term of each column, and all levels."""
    columns: list[IntArray] = []
    column_term: list[int] = []
    levels: list[np.ndarray] = []
    for term, labels in enumerate(terms):
        level, code = np.unique(labels, return_inverse=True)
        columns.append(code.astype(np.int64) + len(column_term))
        column_term.extend([term] * len(level))
        levels.append(level)
    return np.column_stack(columns), np.asarray(column_term, dtype=np.int64), levels


def _label_array(labels: Labels, name: str, n_samples: int, needed: npt.NDArray[np.bool_]) -> np.ndarray:
    """Return labels as a sortable array; where a label is not needed, None becomes an empty text."""
    array = np.asarray(labels)
    if array.dtype.kind in "US" and not isinstance(labels, np.ndarray):
        array = np.asarray(labels, dtype=object)  # NumPy has made texts of numbers and of missing labels
    if array.shape != (n_samples,):
        raise BadInputError(
            f"{name} has shape {array.shape}, but there are {n_samples} samples: one label each", column=name
        )
    if array.dtype == object:
        missing = np.array([label is None or label != label for label in array], dtype=bool)
    elif array.dtype.kind == "f":
        missing = np.isnan(array)
    else:
        missing = np.zeros(n_samples, dtype=bool)
    if (missing & needed).any():
        at = np.flatnonzero(missing & needed)
        raise BadInputError(f"{len(at)} samples have no {name}, first: sample {at[0]}", column=name)
    if array.dtype != object:
        return array
    kinds = {
        str if isinstance(label, str) else type(label)
        for label, gap in zip(array, missing, strict=True)
        if not gap
    }
    if len(kinds) > 1:
        raise BadInputError(
            f"{name} mixes labels of the types {sorted(kind.__name__ for kind in kinds)}; use one type",
            column=name,
        )
    if str in kinds and any(isinstance(label, str) and label.endswith("\0") for label in array):
        raise BadInputError(f"a {name} ends with a NUL character, which arrays of texts drop", column=name)
    filler = next(iter(kinds))() if kinds else ""
    return np.array([filler if gap else label for label, gap in zip(array, missing, strict=True)])


def _block_of_conditions(
    treated: np.ndarray, code: IntArray, block: IntArray, blocks: np.ndarray
) -> IntArray:
    """Return the one block of each treated condition."""
    of_condition = np.zeros(len(treated), dtype=np.int64)
    of_condition[code] = block
    stray = np.flatnonzero(of_condition[code] != block)
    if stray.size:
        name = treated[code[stray[0]]]
        found = sorted({str(blocks[b]) for b in block[code == code[stray[0]]]})
        raise BadInputError(
            f"condition {name} stands in several blocks ({', '.join(found)}); give each its own label"
        )
    return of_condition


def _components(
    cell_condition: IntArray, cell_columns: IntArray, n_conditions: int, n_columns: int
) -> tuple[int, IntArray]:
    """Return the number of connected components and the component of every condition, then every column."""
    n_nodes = n_conditions + n_columns
    n_terms = cell_columns.shape[1]
    edges = np.ones(cell_columns.size, dtype=np.int8)
    ends = (np.repeat(cell_condition, n_terms), n_conditions + cell_columns.ravel())
    graph = sparse.coo_array((edges, ends), shape=(n_nodes, n_nodes))
    n_components, component = connected_components(graph.tocsr(), directed=False)
    return int(n_components), component.astype(np.int64)
