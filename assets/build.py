"""Building datasets from the command line: the assets of the Dagster UI, run from here.

First the tables of each dataset and which references they rest on, in this process; then the fit units, in
this process or in several; then the tables over all datasets. What is fresh (same files, same code) is left
alone unless asked otherwise.
"""

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import dagster as dg

from assets.checks import CHECKS
from assets.definition import asset_key, reference_key
from assets.definitions import ASSETS
from assets.fit import QUIET, Fitted, accounts_of, fit
from assets.instance import instance_of
from assets.partitions import register
from assets.resources import COMMAND_TAG, Warehouse
from assets.workers import default_workers, divide, fit_in_processes
from etl.accounting import RowAccount, total
from etl.errors import ConcurrentWriteError, PerturbhouseError
from etl.harmonize.pubchem_files import compile_pubchem, has_pubchem_files
from etl.harmonize.snapshots import PUBCHEM, REFERENCES
from etl.sources import SOURCES, source_named
from etl.threads import usable_cpus
from etl.warehouse.fit_units import FitUnit, fit_units
from etl.warehouse.freshness import (
    are_shared_tables_fresh,
    available,
    is_fresh,
    is_reference_fresh,
    stale_units,
    tables_of,
    tables_of_all,
)

SHARE_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Built:
    """What a build did.

    Args:
        rebuilt: datasets whose own tables were written.
        fresh: datasets whose own tables were up to date.
        failed: datasets whose own tables could not be built, with the error's text; their fit units were
            left alone. A reference that cannot be read is named ``reference/<name>``.
        fitted: fit units whose effects were written.
        fresh_units: fit units whose effects were up to date.
        failed_units: fit units that could not be fitted, with the error's text.
        accounts: rows in and out of each table that was written, by dataset, where a step keeps account.
        warnings: checks across tables that did not pass.
    """

    rebuilt: tuple[str, ...]
    fresh: tuple[str, ...]
    failed: Mapping[str, str]
    fitted: tuple[FitUnit, ...]
    fresh_units: tuple[FitUnit, ...]
    failed_units: Mapping[FitUnit, str]
    accounts: Mapping[str, Mapping[str, RowAccount]]
    warnings: Sequence[str]


def build(
    dataset_ids: Sequence[str],
    warehouse: Warehouse,
    *,
    force: bool = False,
    workers: int | None = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> Built:
    """Build datasets and their fit units, then the tables that all datasets share.

    A dataset, or a fit unit, that fails does not stop the others; its last good tables stay as they are.

    Args:
        dataset_ids: datasets to build; empty for all that have a raw folder.
        warehouse: where from and where to.
        force: rebuild what is fresh, too.
        workers: processes that fit units; 1 fits them in this process, None chooses. More than one needs a
            main module that can be imported, as for every spawned process.
        progress: called with a line of text at each step.

    Raises:
        PerturbhouseError: a dataset is unknown, or there is nothing to build.
    """
    chosen = _chosen(dataset_ids, warehouse)
    rebuilt: list[str] = []
    fresh: list[str] = []
    failed: dict[str, str] = {}
    accounts: dict[str, dict[str, RowAccount]] = defaultdict(dict)
    with instance_of(warehouse) as instance:
        failed |= _compiled_pubchem(warehouse, progress)
        for dataset_id in chosen:
            try:
                if not force and is_fresh(dataset_id, root=warehouse.root, raw_root=warehouse.raw_path):
                    fresh.append(dataset_id)
                    continue
                progress(dataset_id)
                keys = [asset_key(table) for table in tables_of(SOURCES[dataset_id])]
                result = _materialize(instance, warehouse, keys, partition_key=dataset_id)
                accounts[dataset_id] |= accounts_of(result)
            except (PerturbhouseError, OSError) as error:
                failed[dataset_id] = str(error)
            else:
                rebuilt.append(dataset_id)

        if rebuilt:
            # After the datasets: what is stated is what they were built with.
            failed |= _read_references(instance, warehouse, progress)

        units = fit_units(root=warehouse.root, dataset_ids=[*rebuilt, *fresh])
        wanted = units if force else stale_units(root=warehouse.root, dataset_ids=[*rebuilt, *fresh])
        register(instance, units)
        outcomes = _fit(instance, warehouse, wanted, workers, progress)
        fitted = sorted(outcome.unit for outcome in outcomes if outcome.error is None)
        for dataset_id, of_units in _by_dataset(outcomes).items():
            accounts[dataset_id] |= of_units

        warnings: list[str] = []
        if rebuilt or fitted or not are_shared_tables_fresh(root=warehouse.root):
            progress("tables shared by all datasets")
            warnings = _failed_checks(_share(instance, warehouse))
    return Built(
        rebuilt=tuple(rebuilt),
        fresh=tuple(fresh),
        failed=failed,
        fitted=tuple(fitted),
        fresh_units=tuple(unit for unit in units if unit not in wanted),
        failed_units={outcome.unit: outcome.error for outcome in outcomes if outcome.error is not None},
        accounts=dict(accounts),
        warnings=warnings,
    )


def _compiled_pubchem(warehouse: Warehouse, progress: Callable[[str], None]) -> dict[str, str]:
    """Compile PubChem's files, which takes minutes where they are new; return the error if that fails."""
    if has_pubchem_files(warehouse.references):
        progress("PubChem's files")
        try:
            compile_pubchem(warehouse.references)
        except (PerturbhouseError, OSError) as error:
            return {f"reference/{PUBCHEM}": str(error)}
    return {}


def _read_references(
    instance: dg.DagsterInstance, warehouse: Warehouse, progress: Callable[[str], None]
) -> dict[str, str]:
    """State which references are here, where this has changed; return those that failed, with the error."""
    failed: dict[str, str] = {}
    for reference in REFERENCES:
        try:
            if not is_reference_fresh(reference, warehouse.references, root=warehouse.root):
                progress(f"reference {reference.name}")
                _materialize(instance, warehouse, [reference_key(reference.name)])
        except (PerturbhouseError, OSError) as error:
            failed[f"reference/{reference.name}"] = str(error)
    return failed


def _chosen(dataset_ids: Sequence[str], warehouse: Warehouse) -> list[str]:
    for dataset_id in dataset_ids:
        source_named(dataset_id)
    chosen = list(dataset_ids) or available(warehouse.raw_path)
    if not chosen:
        raise PerturbhouseError(
            f"no dataset has a folder in {warehouse.raw!r}; put a publisher's files into "
            f"<raw>/<dataset>/ (datasets: {', '.join(SOURCES)}), or try `perturbhouse demo`"
        )
    return chosen


def _fit(
    instance: dg.DagsterInstance,
    warehouse: Warehouse,
    units: Mapping[FitUnit, int],
    workers: int | None,
    progress: Callable[[str], None],
) -> list[Fitted]:
    """Fit units, in this process or in several, and say after each what became of it."""
    n_workers = default_workers(sum(units.values())) if workers is None else workers
    outcomes: list[Fitted] = []
    with closing(_outcomes(instance, warehouse, units, n_workers)) as running:
        for outcome in running:
            result = f"{units[outcome.unit]:,} samples" if outcome.error is None else "failed"
            progress(f"effects {len(outcomes) + 1}/{len(units)}  {outcome.unit}  ({result})")
            outcomes.append(outcome)
    return outcomes


def _outcomes(
    instance: dg.DagsterInstance, warehouse: Warehouse, units: Mapping[FitUnit, int], n_workers: int
) -> Generator[Fitted]:
    if n_workers == 1:
        for unit in sorted(units, key=lambda unit: (-units[unit], unit)):
            run_id = str(uuid.uuid4())
            yield fit(unit, instance=instance, warehouse=warehouse, run_id=run_id, n_threads=usable_cpus())
        return
    alone, side_by_side = divide(units, n_workers)
    for chosen, n_processes in ((alone, 1), (side_by_side, n_workers)):
        yield from fit_in_processes(
            chosen,
            instance=instance,
            warehouse=warehouse,
            n_workers=n_processes,
            n_threads=max(1, usable_cpus() // n_processes),
        )


def _by_dataset(outcomes: Iterable[Fitted]) -> dict[str, dict[str, RowAccount]]:
    """Return the row accounts of fit units added up, by dataset and table."""
    parts: dict[str, dict[str, list[RowAccount]]] = defaultdict(lambda: defaultdict(list))
    for outcome in outcomes:
        for table, account in outcome.accounts.items():
            parts[outcome.unit.dataset_id][table].append(account)
    return {
        dataset_id: {table: total(accounts) for table, accounts in by_table.items()}
        for dataset_id, by_table in parts.items()
    }


def _materialize(
    instance: dg.DagsterInstance,
    warehouse: Warehouse,
    keys: Sequence[dg.AssetKey],
    partition_key: str | None = None,
    checks: Sequence[dg.AssetChecksDefinition] = (),
) -> dg.ExecuteInProcessResult:
    """Materialize assets in this process, in the order of their dependencies, then run checks."""
    return dg.materialize(
        [*ASSETS, *checks],
        selection=dg.AssetSelection.assets(*keys).without_checks() | dg.AssetSelection.checks(*checks),
        partition_key=partition_key,
        resources={"warehouse": warehouse},
        instance=instance,
        tags={COMMAND_TAG: "build"},
        run_config=QUIET,
    )


def _share(instance: dg.DagsterInstance, warehouse: Warehouse) -> dg.ExecuteInProcessResult:
    """Make the tables over all datasets; again where another build replaced one of them meanwhile."""
    keys = [asset_key(table) for table in tables_of_all()]
    for _ in range(SHARE_ATTEMPTS - 1):
        try:
            return _materialize(instance, warehouse, keys, checks=CHECKS)
        except ConcurrentWriteError:
            time.sleep(1)
    return _materialize(instance, warehouse, keys, checks=CHECKS)


def _failed_checks(result: dg.ExecuteInProcessResult) -> list[str]:
    """Return a line per check that did not pass."""
    return [
        f"{'/'.join(check.asset_key.path)}: {check.description or check.check_name}"
        for check in result.get_asset_check_evaluations()
        if not check.passed
    ]
