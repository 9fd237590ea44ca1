"""PubChem's bulk files, turned once into sorted tables and then asked without network.

Here: the files of ``Compound/Extras`` at PubChem, what their lines mean, and the answers they give.
Not here: sorting and finding (``keyed_parquet``), and which of several candidates a name means
(``compounds.py``).

=========================== ============================================= ================================
file                        line                                          table
=========================== ============================================= ================================
``CID-Synonym-filtered.gz`` CID, synonym; best synonym first              ``names``: name_key, cid, rank
``CID-InChI-Key.gz``        CID, InChI, InChIKey                          ``inchikeys``: inchikey, cid
``CID-SMILES.gz``           CID, SMILES                                   ``structures``: cid, smiles
``CID-Parent.gz``           CID, parent CID, where there is one           ``parents``: cid, parent_cid
``CID-Mass.gz``             CID, formula, monoisotopic mass, exact mass   ``masses``: cid, formula, …
=========================== ============================================= ================================

Fields are separated by tabs; there is no header. The tables are below ``<cache>/reference/pubchem``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import polars as pl

from etl.digests import remember_sha256, sha256_of
from etl.errors import BadInputError, PerturbhouseError
from etl.formats import keyed_parquet
from etl.formats.gzip_lines import Block, GzipLines, Progress
from etl.formats.keyed_parquet import KeyedTable
from etl.harmonize.compound_names import name_key_expr
from etl.harmonize.reference_folder import ReferenceFolder

VERSION: Final = 1
"""Of what is made of the files; tables of another version, or of other keys of names, are built anew."""

_FOLDER = "reference/pubchem"
_REPLACEMENT = "\ufffd"


@dataclass(frozen=True, slots=True)
class CompiledTable:
    """A table made of a bulk file.

    Args:
        name: of the table.
        file: of PubChem, below the reference folder.
        released_at: when PubChem's file was last changed, UTC.
        compiled_at: when the table was made, UTC.
        is_new: whether it was made now; else the file had not changed since.
        n_lines: lines of the file.
        n_rows: rows of the table.
        n_bytes: of the table on disk.
        noted: lines that gave no row of their own, or are unusual, by reason.
        sha256: of the file.
    """

    name: str
    file: str
    released_at: datetime
    compiled_at: datetime
    is_new: bool
    n_lines: int
    n_rows: int
    n_bytes: int
    noted: Mapping[str, int]
    sha256: str


class PubChemFiles:
    """PubChem's answers from the bulk files of a reference folder; implements ``PubChem``.

    What a missing file would tell is not asked. A name is found by its key (:func:`synonym_key_expr`), so
    case, spaces and punctuation do not matter.

    Args:
        folder: with the files and a cache. Files that are new or have changed are compiled first, which takes
            minutes at full size.
        progress: as :func:`compile_pubchem`.

    Raises:
        BadInputError: as :func:`compile_pubchem`, or a table is broken.
        PerturbhouseError: as :func:`compile_pubchem`.
    """

    def __init__(self, folder: ReferenceFolder, *, progress: Progress | None = None) -> None:
        self.compiled = compile_pubchem(folder, progress=progress)
        """Records of the tables that answer."""

        self._tables: dict[str, KeyedTable] = {}
        for record in self.compiled:
            assert folder.cache is not None, "tables have been compiled into it"
            table = keyed_parquet.open_table(folder.cache / _FOLDER / record.name)
            assert table is not None, "it has been compiled"
            self._tables[record.name] = table
        self._n_asked = self._n_not_asked = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def released_at(self) -> datetime | None:
        """The latest change of the files that the tables were made of, UTC; null without tables."""
        return max((record.released_at for record in self.compiled), default=None)

    @property
    def origin(self) -> str:
        """Which PubChem answers."""
        released = self.released_at
        return "PubChem files, none there" if released is None else f"PubChem files of {released:%Y-%m-%d}"

    @property
    def is_local(self) -> bool:
        """True: asking costs a few seconds, however many keys."""
        return True

    @property
    def is_offline(self) -> bool:
        """Whether a file that answers one of the questions is missing."""
        return self.offline_reason is not None

    @property
    def offline_reason(self) -> str | None:
        """Which files are missing; null while none is."""
        missing = [file.name for file in _FILES if file.is_asked and file.table not in self._tables]
        return f"not in the reference folder: {', '.join(missing)}" if missing else None

    @property
    def n_asked(self) -> int:
        """Keys answered."""
        return self._n_asked

    @property
    def n_from_cache(self) -> int:
        """Zero: the tables are no memory of answers."""
        return 0

    @property
    def n_not_asked(self) -> int:
        """Keys without answer, because the table is missing."""
        return self._n_not_asked

    def cids_by_name(self, names: Iterable[str]) -> dict[str, list[int]]:
        """Return the CIDs of each name, those first that list it early; ``[]`` where PubChem knows none."""
        return self._cids("names", pl.Series([*names], dtype=pl.String), synonym_key_expr, order="rank")

    def cids_by_inchikey(self, inchikeys: Iterable[str]) -> dict[str, list[int]]:
        """Return the CIDs of each InChIKey, ascending; ``[]`` where PubChem knows none."""
        keys = pl.Series([*inchikeys], dtype=pl.String)
        return self._cids("inchikeys", keys, lambda text: text.str.strip_chars(), order="cid")

    def structures_by_cid(self, cids: Iterable[int]) -> dict[int, str]:
        """Return the SMILES of each CID; CIDs that are unknown or were not asked are absent."""
        rows = self._rows("structures", cids)
        if rows is None:
            return {}
        return dict(rows.filter(pl.col("smiles") != "").select("cid", "smiles").iter_rows())

    def parents_by_cid(self, cids: Iterable[int]) -> dict[int, int]:
        """Return PubChem's parent of each CID: itself where the file names no other."""
        wanted = [*cids]
        rows = self._rows("parents", wanted)
        if rows is None:
            return {}
        other = dict(rows.select("cid", "parent_cid").iter_rows())
        return {cid: other.get(cid, cid) for cid in wanted if cid > 0}

    def masses_by_cid(self, cids: Iterable[int]) -> pl.DataFrame:
        """Return ``cid``, ``formula``, ``monoisotopic_mass`` and ``exact_mass`` (Da) of known CIDs."""
        rows = self._rows("masses", cids)
        return pl.DataFrame(schema=_MASSES) if rows is None else rows

    def _cids(
        self, table: str, texts: pl.Series, key: Callable[[pl.Expr], pl.Expr], *, order: str
    ) -> dict[str, list[int]]:
        wanted = texts.alias("text").to_frame().unique().with_columns(key=key(pl.col("text")))
        rows = self._looked_up(table, wanted["key"], wanted.height)
        if rows is None:
            return {}
        column = self._tables[table].manifest.key
        lists = rows.group_by(key=column).agg(pl.col("cid").sort_by(order, "cid"))
        found = wanted.join(lists, on="key", how="left").sort("text")
        return {
            text: [*cids] if cids is not None else [] for text, cids in found.select("text", "cid").rows()
        }

    def _rows(self, table: str, cids: Iterable[int]) -> pl.DataFrame | None:
        wanted = pl.Series(sorted({cid for cid in cids if cid > 0}), dtype=pl.Int64)
        return self._looked_up(table, wanted, wanted.len())

    def _looked_up(self, table: str, keys: pl.Series, n: int) -> pl.DataFrame | None:
        if table not in self._tables:
            self._n_not_asked += n
            return None
        self._n_asked += n
        return self._tables[table].lookup(keys)


def synonym_key_expr(name: pl.Expr) -> pl.Expr:
    """Return the key of a synonym: ``compound_names.name_key``, but a number keeps its dashes.

    Without them the CAS number 2007-53-7 would be the EC number 200-753-7.
    """
    text = name.str.strip_chars()
    is_number = text.str.contains(r"^[0-9]+(-[0-9]+)+$")
    return pl.when(is_number).then(text).otherwise(name_key_expr(name))


def has_pubchem_files(folder: ReferenceFolder) -> bool:
    """Say whether a reference folder holds the files of names and of structures, without which none helps."""
    return all(folder.find(f"**/{name}") for name in ("CID-Synonym-filtered.gz", "CID-SMILES.gz"))


def compile_pubchem(folder: ReferenceFolder, *, progress: Progress | None = None) -> list[CompiledTable]:
    """Turn the bulk files of a reference folder into tables, each unless that was done for this very file.

    The folder is searched at any depth; what is not there is left out. Memory stays below 1 GB whatever the
    size of the files. Processes that compile the same file at once do it one after the other, and once.

    Args:
        folder: with the files and a cache.
        progress: told how much of a file has been read.

    Returns:
        A record of each table, in the order of the module's docstring.

    Raises:
        BadInputError: a file is damaged or truncated, a line has too few fields, a CID is no positive number,
            a CID has two lines where it must have one, or a file is there twice. The table of that file stays
            as it was.
        PerturbhouseError: the folder has no cache.
    """
    records = []
    for file in _FILES:
        paths = folder.find(f"**/{file.name}")
        if len(paths) > 1:
            listed = ", ".join(folder.name_of(path) for path in paths)
            raise BadInputError(f"is there more than once ({listed}): keep one release", file=file.name)
        if paths:
            if folder.cache is None:
                raise PerturbhouseError("PubChem's bulk files need a cache folder to be compiled into")
            records.append(_compiled(file, paths[0], folder, folder.cache / _FOLDER / file.table, progress))
    return records


@dataclass(frozen=True, slots=True)
class _File:
    """A bulk file and the table made of it.

    Args:
        name: of the file.
        fields: of a line.
        table: name of the table.
        schema: of the table, the key first.
        rows: turns lines into rows.
        sort_by: as ``keyed_parquet.build``.
        finish: as ``keyed_parquet.build``; None where a CID has one line.
        is_asked: whether the interface ``PubChem`` needs it.
    """

    name: str
    fields: tuple[str, ...]
    table: str
    schema: pl.Schema
    rows: Callable[["_Lines", pl.DataFrame], pl.DataFrame]
    sort_by: tuple[str, ...]
    finish: Callable[[pl.DataFrame], pl.DataFrame] | None = None
    is_asked: bool = True


@dataclass(slots=True)
class _Lines:
    """Lines of a file on their way into rows, and what has to be remembered from block to block.

    Args:
        path: the file.
        file: what it is.
        source: its text.
        noted: as in the record of the table.
        last_cid: of the line before; 0 before the first.
        n_of_last_cid: lines of that CID so far.
    """

    path: Path
    file: _File
    source: GzipLines
    noted: dict[str, int] = field(default_factory=dict)
    last_cid: int = 0
    n_of_last_cid: int = 0

    def chunks(self) -> Iterator[pl.DataFrame]:
        """Yield the rows of each block."""
        for block in self.source:
            yield self.file.rows(self, self._parsed(block)).select(self.file.schema.names())

    def whole_numbers(self, lines: pl.DataFrame, column: str) -> pl.DataFrame:
        """Return lines with a column of CIDs as Int64.

        Raises:
            BadInputError: a text is no positive number.
        """
        numbers = lines[column].cast(pl.Int64, strict=False)
        self._require(lines, (numbers > 0).fill_null(value=False), column, "no CID")
        return lines.with_columns(numbers)

    def masses(self, lines: pl.DataFrame, column: str) -> pl.DataFrame:
        """Return lines with a column of masses as Float64.

        Raises:
            BadInputError: a text is no number.
        """
        numbers = lines[column].cast(pl.Float64, strict=False)
        self._require(lines, numbers.is_finite().fill_null(value=False), column, "no mass")
        return lines.with_columns(numbers)

    def _parsed(self, block: Block) -> pl.DataFrame:
        n_fields = len(self.file.fields)
        # Polars inflates what starts like a compressed stream, and text may; an empty line first prevents it.
        split = (
            pl.scan_lines(
                b"\n" + self._utf8(block), row_index_name="row", row_index_offset=block.first_line - 1
            )
            .slice(1)
            .with_columns(pl.col("line").str.splitn("\t", n_fields).struct.rename_fields(self.file.fields))
            .unnest("line")
            .collect()
            .sort("row")
        )
        last = self.file.fields[-1]
        self._require(split, split[last].is_not_null(), last, f"fewer than {n_fields} fields")
        return self.whole_numbers(split, "cid")

    def _utf8(self, block: Block) -> bytes:
        """Return the text with what is not UTF-8 replaced; its lines are kept and counted."""
        try:
            block.text.decode()
        except UnicodeDecodeError:
            text = block.text.decode(errors="replace")
            n = sum(_REPLACEMENT in line for line in text.splitlines())
            self.noted["not UTF-8, kept"] = self.noted.get("not UTF-8, kept", 0) + n
            return text.encode()
        return block.text

    def _require(self, lines: pl.DataFrame, is_right: pl.Series, column: str, rule: str) -> None:
        if is_right.all():
            return
        wrong = lines.filter(~is_right)
        shown = wrong[column][0]
        stated = rule if shown is None else f"{rule}: {shown[:40]!r}"
        raise BadInputError(
            f"{stated} ({wrong.height} such in this block of lines)",
            file=self.path,
            row=wrong["row"][0],
            column=column,
        )


def _compiled(
    file: _File, path: Path, folder: ReferenceFolder, table: Path, progress: Progress | None
) -> CompiledTable:
    source = GzipLines(path, progress=progress)
    manifest = _build(file, source, table).manifest
    if manifest.facts["modified_at"] != _modified_at(path):  # the same file, copied: its digest need not be
        manifest = keyed_parquet.restate(table, {"modified_at": _modified_at(path)})  # taken every time
    facts = manifest.facts
    remember_sha256(path, facts["sha256"])
    return CompiledTable(
        name=file.table,
        file=folder.name_of(path),
        released_at=datetime.fromisoformat(facts["modified_at"]),
        compiled_at=manifest.built_at,
        is_new=source.n_lines > 0,
        n_lines=facts["n_lines"],
        n_rows=manifest.n_rows,
        n_bytes=manifest.n_bytes,
        noted=facts["noted"],
        sha256=facts["sha256"],
    )


def _is_made_of(path: Path, facts: Mapping[str, Any]) -> bool:
    """Say whether a table was made of this file; it is read only where its time has changed."""
    if facts.get("version") != VERSION or facts.get("size") != path.stat().st_size:
        return False
    return facts["modified_at"] == _modified_at(path) or facts["sha256"] == sha256_of(path)


def _build(file: _File, source: GzipLines, table: Path) -> KeyedTable:
    path = source.path
    before = (path.stat().st_size, _modified_at(path))
    lines = _Lines(path, file, source)
    n_kept = 0

    def finish(rows: pl.DataFrame) -> pl.DataFrame:
        nonlocal n_kept
        if file.finish is None:
            _require_one_line(rows, path)
        kept = rows if file.finish is None else file.finish(rows)
        n_kept += rows.height - kept.height
        return kept

    def facts() -> dict[str, Any]:
        size, modified_at = path.stat().st_size, _modified_at(path)
        if (size, modified_at) != before:
            raise BadInputError("has changed while it was read", file=path)
        if n_kept:
            lines.noted["the same key and CID again"] = n_kept
        return {
            "version": VERSION,
            "file": path.name,
            "size": size,
            "modified_at": modified_at,
            "sha256": source.sha256,
            "n_lines": source.n_lines,
            "noted": lines.noted,
        }

    return keyed_parquet.build(
        table,
        lines.chunks(),
        schema=file.schema,
        sort_by=file.sort_by,
        facts=facts,
        is_current=lambda manifest: _is_made_of(path, manifest.facts),
        finish=finish,
    )


def _require_one_line(rows: pl.DataFrame, path: Path) -> None:
    repeated = rows.filter(pl.col("cid") == pl.col("cid").shift())
    if repeated.height:
        raise BadInputError(f"CID {repeated['cid'][0]} has more than one line", file=path, column="cid")


def _modified_at(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat()


def _name_rows(lines: _Lines, parsed: pl.DataFrame) -> pl.DataFrame:
    """Return key, CID and rank: the position of the synonym in the list of its CID, from 0."""
    position = pl.int_range(pl.len(), dtype=pl.Int64)
    starts = pl.when(pl.col("cid") != pl.col("cid").shift(fill_value=lines.last_cid)).then(position)
    ranked = parsed.with_columns(rank=position - starts.forward_fill().fill_null(-lines.n_of_last_cid))
    lines.last_cid, lines.n_of_last_cid = ranked["cid"][-1], ranked["rank"][-1] + 1
    keyed = ranked.with_columns(pl.col("rank").cast(pl.Int32), name_key=synonym_key_expr(pl.col("synonym")))
    kept = keyed.filter(pl.col("name_key") != "")
    if kept.height < keyed.height:
        reason = "no letter or digit"
        lines.noted[reason] = lines.noted.get(reason, 0) + keyed.height - kept.height
    return kept


def _as_parsed(_: _Lines, parsed: pl.DataFrame) -> pl.DataFrame:
    return parsed


def _parent_rows(lines: _Lines, parsed: pl.DataFrame) -> pl.DataFrame:
    return lines.whole_numbers(parsed, "parent_cid")


def _mass_rows(lines: _Lines, parsed: pl.DataFrame) -> pl.DataFrame:
    return lines.masses(lines.masses(parsed, "monoisotopic_mass"), "exact_mass")


def _lowest_rank(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows, sorted by key, rank and CID, without those whose key and CID have been before.

    Only keys with several rows are compared: most have one, and comparing all takes much memory.
    """
    is_same = rows["name_key"] == rows["name_key"].shift()
    has_others = (is_same | is_same.shift(-1)).fill_null(value=False)
    several = rows.select("name_key", "cid", position=pl.int_range(pl.len(), dtype=pl.UInt32)).filter(
        has_others
    )
    first = several.select(pl.struct("name_key", "cid").is_first_distinct())
    again = several.filter(~first.to_series())["position"]
    return rows.filter(pl.repeat(True, rows.height, eager=True).scatter(again, False))


def _distinct(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.unique(keep="first", maintain_order=True)


_MASSES = pl.Schema(
    {"cid": pl.Int64, "formula": pl.String, "monoisotopic_mass": pl.Float64, "exact_mass": pl.Float64}
)
_FILES = (
    _File(
        name="CID-Synonym-filtered.gz",
        fields=("cid", "synonym"),
        table="names",
        schema=pl.Schema({"name_key": pl.String, "cid": pl.Int64, "rank": pl.Int32}),
        rows=_name_rows,
        sort_by=("name_key", "rank", "cid"),
        finish=_lowest_rank,
    ),
    _File(
        name="CID-InChI-Key.gz",
        fields=("cid", "inchi", "inchikey"),
        table="inchikeys",
        schema=pl.Schema({"inchikey": pl.String, "cid": pl.Int64}),
        rows=_as_parsed,
        sort_by=("inchikey", "cid"),
        finish=_distinct,
    ),
    _File(
        name="CID-SMILES.gz",
        fields=("cid", "smiles"),
        table="structures",
        schema=pl.Schema({"cid": pl.Int64, "smiles": pl.String}),
        rows=_as_parsed,
        sort_by=("cid", "smiles"),
    ),
    _File(
        name="CID-Parent.gz",
        fields=("cid", "parent_cid"),
        table="parents",
        schema=pl.Schema({"cid": pl.Int64, "parent_cid": pl.Int64}),
        rows=_parent_rows,
        sort_by=("cid", "parent_cid"),
    ),
    _File(
        name="CID-Mass.gz",
        fields=("cid", "formula", "monoisotopic_mass", "exact_mass"),
        table="masses",
        schema=_MASSES,
        rows=_mass_rows,
        sort_by=("cid", "formula"),
        is_asked=False,
    ),
)

BULK_FILES: Final = tuple(file.name for file in _FILES)
"""Names of the files that are read."""
