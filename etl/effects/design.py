"""The design of one fit: samples as edges between conditions and plates, and what that graph can estimate.

Belongs here: labels to codes, the condition-plate graph, its rank, and the status of every contrast. Does not
belong here: expression values. All numbers follow from labels alone.

A sample of condition c on plate p is an edge of a bipartite graph. The model ``~ 0 + condition + plate``
has one free constant per connected component, so its rank is conditions + plates - components (the
classical result for two-way layouts without interaction), and a difference of two conditions is estimable
exactly when both lie in one component.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from etl.effects.blocks import IntArray
from etl.errors import BadInputError

Labels = Sequence[Any] | np.ndarray


class ContrastStatus(StrEnum):
    """Whether a treated condition can be compared with the controls of its block."""

    ESTIMABLE = "estimable"
    NO_CONTROL = "no_control"
    """The block of the condition holds no control sample."""
    CONFOUNDED_WITH_PLATE = "confounded_with_plate"
    """No chain of shared plates and conditions leads from the condition to its control."""
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
    """Integer codes of a condition + plate layout, its graph and its contrasts.

    Model conditions are numbered with the C treated conditions first and then one control condition per
    block. A *cell* is a (condition, plate) pair that holds at least one sample; cells are sorted by
    condition, plate.
    """

    treated: np.ndarray
    """Labels of the C treated conditions, sorted."""
    plates: np.ndarray
    """Labels of the P plates, sorted."""
    n_conditions: int
    """Model conditions K: treated ones and one control condition per block with controls."""
    condition: IntArray
    """Model condition of each of the N samples."""
    plate: IntArray
    """Plate of each sample."""
    cell: IntArray
    """Cell of each sample."""
    cell_condition: IntArray
    """Model condition of each cell."""
    cell_plate: IntArray
    """Plate of each cell."""
    cell_size: IntArray
    """Samples in each cell."""
    plate_component: IntArray
    """Connected component of each plate."""
    n_components: int
    """Connected components of the condition-plate graph."""
    control: IntArray
    """Model condition that is the control of each treated condition; -1 where its block has none."""
    status: tuple[ContrastStatus, ...]
    """Status of each treated condition."""
    control_scope: tuple[ControlScope | None, ...]
    """Control scope of each treated condition; None where the contrast is not estimable."""

    @property
    def n_samples(self) -> int:
        """Samples N."""
        return len(self.condition)

    @property
    def n_plates(self) -> int:
        """Plates P."""
        return len(self.plates)

    @property
    def rank(self) -> int:
        """Rank of the design matrix: conditions + plates - components."""
        return self.n_conditions + self.n_plates - self.n_components

    @property
    def residual_df(self) -> int:
        """Residual degrees of freedom: samples - rank."""
        return self.n_samples - self.rank

    @property
    def estimable(self) -> IntArray:
        """Indices of the treated conditions whose contrast can be estimated."""
        return np.flatnonzero([status is ContrastStatus.ESTIMABLE for status in self.status])

    @property
    def condition_size(self) -> IntArray:
        """Samples in each model condition."""
        return np.bincount(self.condition, minlength=self.n_conditions)

    @property
    def condition_plates(self) -> IntArray:
        """Plates on which each model condition stands."""
        return np.bincount(self.cell_condition, minlength=self.n_conditions)


def build_design(
    condition: Labels, plate: Labels, is_control: npt.ArrayLike, *, block: Labels | None = None
) -> Design:
    """Return the design of samples that carry these labels.

    All controls of a block form one control condition, whatever their labels; without ``block`` there is
    one block. Labels are compared as they are: nothing is cleaned, so different labels never merge.

    Args:
        condition: one label per sample; ignored for controls.
        plate: one label per sample.
        is_control: True for control samples.
        block: one label per sample, such as the time point; conditions are compared with controls of their
            block.

    Raises:
        BadInputError: there is no sample, the labels differ in length, a label is missing, or a condition
            stands in several blocks.

    >>> d = build_design(["", "a", "", "b"], [1, 1, 2, 3], [True, False, True, False])
    >>> d.rank, d.residual_df, [str(s) for s in d.status]
    (4, 0, ['no_residual_df', 'no_residual_df'])
    >>> d = build_design(["", "", "a", "", "b"], [1, 1, 1, 2, 3], [True, True, False, True, False])
    >>> d.residual_df, [str(s) for s in d.status]
    (1, ['estimable', 'confounded_with_plate'])
    """
    condition, plate, control_mask, block = _checked_labels(condition, plate, is_control, block)

    treated_samples = np.flatnonzero(~control_mask)
    treated, treated_code = np.unique(condition[treated_samples], return_inverse=True)
    blocks, block_code = np.unique(block, return_inverse=True)
    plates, plate_code = np.unique(plate, return_inverse=True)
    treated_block = _block_of_conditions(treated, treated_code, block_code[treated_samples], blocks)

    control_blocks, control_code = np.unique(block_code[control_mask], return_inverse=True)
    codes = np.empty(len(condition), dtype=np.int64)
    codes[treated_samples] = treated_code
    codes[control_mask] = len(treated) + control_code
    n_conditions = len(treated) + len(control_blocks)
    control_of_block = np.full(len(blocks), -1, dtype=np.int64)
    control_of_block[control_blocks] = len(treated) + np.arange(len(control_blocks))
    control = control_of_block[treated_block]

    cell_key, cell, cell_size = np.unique(
        codes * len(plates) + plate_code, return_inverse=True, return_counts=True
    )
    cell_condition, cell_plate = np.divmod(cell_key, len(plates))
    n_components, component = _components(cell_condition, cell_plate, n_conditions, len(plates))
    residual_df = len(condition) - (n_conditions + len(plates) - n_components)

    status = _statuses(control, component, residual_df)
    return Design(
        treated=treated,
        plates=plates,
        n_conditions=n_conditions,
        condition=codes,
        plate=plate_code.astype(np.int64),
        cell=cell.astype(np.int64),
        cell_condition=cell_condition,
        cell_plate=cell_plate,
        cell_size=cell_size.astype(np.int64),
        plate_component=component[n_conditions:],
        n_components=n_components,
        control=control,
        status=status,
        control_scope=_control_scopes(status, control, cell_condition, cell_plate),
    )


def _checked_labels(
    condition: Labels, plate: Labels, is_control: npt.ArrayLike, block: Labels | None
) -> tuple[np.ndarray, np.ndarray, npt.NDArray[np.bool_], np.ndarray]:
    """Return the labels as arrays of one length without gaps."""
    control_mask = np.asarray(is_control)
    if control_mask.dtype != np.bool_ or control_mask.ndim != 1:
        raise BadInputError("is_control must be one True or False per sample", column="is_control")
    n_samples = len(control_mask)
    if n_samples == 0:
        raise BadInputError("there is no sample to fit")
    conditions = _label_array(condition, "condition", n_samples, needed=~control_mask)
    plates = _label_array(plate, "plate", n_samples, needed=np.ones(n_samples, dtype=bool))
    if block is None:
        blocks = np.zeros(n_samples, dtype=np.int64)
    else:
        blocks = _label_array(block, "block", n_samples, needed=np.ones(n_samples, dtype=bool))
    return conditions, plates, control_mask, blocks


def _label_array(labels: Labels, name: str, n_samples: int, needed: npt.NDArray[np.bool_]) -> np.ndarray:
    """Return labels as a sortable array; where a label is not needed, None becomes an empty text."""
    array = np.asarray(labels)
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
    kinds = {type(label) for label, gap in zip(array, missing, strict=True) if not gap}
    if len(kinds) > 1:
        raise BadInputError(
            f"{name} mixes labels of the types {sorted(kind.__name__ for kind in kinds)}; use one type",
            column=name,
        )
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
    cell_condition: IntArray, cell_plate: IntArray, n_conditions: int, n_plates: int
) -> tuple[int, IntArray]:
    """Return the number of connected components and the component of every condition, then every plate."""
    n_nodes = n_conditions + n_plates
    edges = np.ones(len(cell_condition), dtype=np.int8)
    graph = sparse.coo_array((edges, (cell_condition, n_conditions + cell_plate)), shape=(n_nodes, n_nodes))
    n_components, component = connected_components(graph.tocsr(), directed=False)
    return int(n_components), component.astype(np.int64)


def _statuses(control: IntArray, component: IntArray, residual_df: int) -> tuple[ContrastStatus, ...]:
    """Return the status of every treated condition."""
    if residual_df < 1 and (control >= 0).any():
        return (ContrastStatus.NO_RESIDUAL_DF,) * len(control)
    own = component[: len(control)]
    statuses = []
    for mine, its_control in zip(own, control, strict=True):
        if its_control < 0:
            statuses.append(ContrastStatus.NO_CONTROL)
        elif component[its_control] != mine:
            statuses.append(ContrastStatus.CONFOUNDED_WITH_PLATE)
        else:
            statuses.append(ContrastStatus.ESTIMABLE)
    return tuple(statuses)


def _control_scopes(
    status: tuple[ContrastStatus, ...], control: IntArray, cell_condition: IntArray, cell_plate: IntArray
) -> tuple[ControlScope | None, ...]:
    """Return the control scope of every treated condition."""
    cells = list(zip(cell_condition.tolist(), cell_plate.tolist(), strict=True))
    held = set(cells)
    away = {c for c, plate in cells if c < len(control) and (int(control[c]), plate) not in held}
    return tuple(
        None
        if state is not ContrastStatus.ESTIMABLE
        else (ControlScope.LINKED_PLATES if condition in away else ControlScope.SAME_PLATE)
        for condition, state in enumerate(status)
    )
