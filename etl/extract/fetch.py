"""Fetching the files of a dataset into its raw folder.

Here: what is done in which order, with several files and servers at once, and putting complete files in their
places. Not here: one download (``download.py``), one protocol (``web.py``, ``ftp.py``), what is shown on a
terminal (``terminal.py``).

A complete file gets its name in one step, after it was verified; a killed run leaves part files in
``.fetching`` of the dataset's folder, which the next run continues. What is there is never replaced unless
that is asked for.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from threading import Event
from typing import Final
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from etl.errors import PerturbhouseError
from etl.extract.addresses import Addresses, Offer, Services, host_of
from etl.extract.archives import Limits, Member, unpack
from etl.extract.disk import disk_error, free_bytes
from etl.extract.download import Downloaded, download, forget
from etl.extract.errors import AccessError, ChecksumError, FetchError, NoSpaceError
from etl.extract.ftp import Ftp
from etl.extract.ledger import WORK, FetchedFile, local_file, read_ledger, record
from etl.extract.names import matches
from etl.extract.patience import Patience, interrupted
from etl.extract.standing import Standing, expected, is_served, standing
from etl.extract.transport import Transport
from etl.extract.wanted import Destination, Wanted, wanted
from etl.extract.web import Web
from etl.provenance import SIMULATED_MARKER
from etl.sources.base import SourceSpec

PER_HOST: Final = 2
"""Downloads from one server at a time: what public archives bear from one address."""

LOCK_POLL_S: Final = 0.2

Progress = Callable[[str, int, int | None], None]
"""Told path, bytes so far and bytes in all of a download; called from several threads."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to fetch.

    Args:
        is_dry_run: only say how the files stand, with their sizes; nothing is written.
        is_updated: replace what is there where the publisher offers another version or it was altered.
        by_digest: read and hash what is there, not only compare size and time.
        per_host: downloads from one server at a time.
        limits: what archives may grow to.
        patience: how faults are waited out.
        services: base addresses of repositories and object stores.
    """

    is_dry_run: bool = False
    is_updated: bool = False
    by_digest: bool = False
    per_host: int = PER_HOST
    limits: Limits = field(default_factory=Limits)
    patience: Patience = field(default_factory=Patience)
    services: Services = field(default_factory=Services)


def fetch(
    spec: SourceSpec,
    raw: Path,
    *,
    options: Options | None = None,
    progress: Progress = lambda _path, _done, _total: None,
    web: Web | None = None,
) -> list[Standing]:
    """Fetch what a dataset's spec names into ``raw/<dataset_id>/`` and return how each file stands.

    Args:
        spec: the dataset.
        raw: folder of all datasets' raw folders.
        options: how to fetch.
        progress: told what goes on.
        web: the transport over http, for other timeouts than usual.

    Returns:
        One row per file, in the order of the spec; those of one address by name.

    Raises:
        AccessError: a required file is missing that only a person can get; what is open was fetched.
        NoSpaceError: the disk cannot take it; nothing was downloaded.
        FetchError: one or several files could not be fetched; the others were.
        BadInputError: the record of what was fetched before is damaged.
    """
    folder = raw / spec.dataset_id
    if (folder / SIMULATED_MARKER).exists():
        raise PerturbhouseError(
            f"{spec.dataset_id}: {folder} holds simulated files; name another folder with --raw"
        )
    options = options or Options()
    # Each run ends its own waiting only.
    options = replace(options, patience=replace(options.patience, stop=Event()))
    session = _Session(spec, folder, options, progress, web or Web())
    try:
        return session.run()
    finally:
        session.web.close()


@dataclass(frozen=True, slots=True)
class _Task:
    """One download: what it is wanted for, where it comes from and goes, and how it stands."""

    want: Wanted
    offer: Offer
    destination: Destination
    is_only: bool
    stands: Standing


@dataclass(frozen=True, slots=True)
class _Session:
    """One run over the files of one dataset."""

    spec: SourceSpec
    folder: Path
    options: Options
    progress: Progress
    web: Web
    ftp: Ftp = field(default_factory=Ftp)

    def run(self) -> list[Standing]:
        tasks: list[_Task] = []
        rows: list[Standing] = []
        for want in wanted(self.spec):
            if want.url is None or self.spec.access != "open":
                rows += self._by_hand(want)
            else:
                found = self._tasks(want, want.url)
                tasks += found
                rows += [task.stands for task in found]
        if self.options.is_dry_run:
            return rows
        fetched = self._fetch_all([task for task in tasks if task.stands.status == "to fetch"])
        rows = [fetched.get(row.path, row) for row in rows]
        self._refuse_missing(rows)
        return rows

    def _by_hand(self, want: Wanted) -> Iterator[Standing]:
        """Yield what only a person can get, by pattern: there or not."""
        for file in want.files:
            there = sorted(path for path in self.folder.glob(file.pattern) if path.is_file())
            for path in there:
                name = path.relative_to(self.folder).as_posix()
                yield Standing(name, want.url, "found", path.stat().st_size, is_required=file.is_required)
            if not there:
                yield Standing(file.pattern, want.url, "by hand", is_required=file.is_required)

    def _refuse_missing(self, rows: Sequence[Standing]) -> None:
        missing = [row for row in rows if row.status == "by hand" and row.is_required]
        if not missing:
            return
        page = f" from {self.spec.url}" if self.spec.url else ""
        why = {
            "registration": f"its publisher asks for a registration{page}",
            "manual": f"its files are not offered for download by a program; get them{page}",
            "open": f"some of its files come by hand{page}",
        }
        get = ", ".join(f"{row.path} from {row.url}" if row.url else row.path for row in missing)
        raise AccessError(
            f"{self.spec.dataset_id}: {why[self.spec.access]} (licence: {self.spec.license})",
            remedy=f"put into {self.folder}: {get}",
        )

    def _tasks(self, want: Wanted, url: str) -> list[_Task]:
        """Return the downloads that an address stands for, each with how it stands."""
        name = want.files[0].pattern
        try:
            offers, is_reachable = self._addresses().offers(url), True
        except FetchError as fault:
            offers, is_reachable = self._fetched_before(url), False
            if not offers:
                raise fault.about(file=name, url=url) from fault
        tasks = []
        for bare in offers:
            destination = want.destination(bare.name, is_only=len(offers) == 1)
            offer = self._asked(want, bare, destination) if is_reachable else bare
            stands = self._standing(want, destination, offer, is_only=len(offers) == 1)
            tasks.append(_Task(want, offer, destination, len(offers) == 1, stands))
        return tasks

    def _addresses(self) -> Addresses:
        return Addresses(self.web, self.options.patience, self.options.services)

    def _fetched_before(self, url: str) -> list[Offer]:
        """Return what an address brought before, for when it cannot be asked; empty if not all is there."""
        entries = {path: entry for path, entry in read_ledger(self.folder).items() if entry.url == url}
        files = [file for entry in entries.values() for file in entry.files]
        if not all((self.folder / file.path).is_file() for file in files):
            return []
        return [Offer(PurePosixPath(path).name, url) for path in entries]

    def _asked(self, want: Wanted, offer: Offer, destination: Destination) -> Offer:
        """Return an offer with what the server says of it; what is there already can do without."""
        if offer.state is not None:
            return offer
        transport = self._transport(offer.address)
        try:
            return replace(offer, state=self.options.patience.ask(lambda: transport.state(offer.address)))
        except FetchError as fault:
            if destination.path in read_ledger(self.folder) or is_served(want, self.folder):
                return offer
            raise fault.about(file=destination.path, url=want.url or "") from fault

    def _standing(self, want: Wanted, destination: Destination, offer: Offer, *, is_only: bool) -> Standing:
        return standing(
            want,
            destination,
            offer,
            self.folder,
            is_only=is_only,
            is_updated=self.options.is_updated,
            by_digest=self.options.by_digest,
        )

    def _transport(self, address: str) -> Transport:
        return self.ftp if urlsplit(address).scheme == "ftp" else self.web

    def _fetch_all(self, tasks: Sequence[_Task]) -> dict[str, Standing]:
        """Fetch several files, from each server a few at a time; return how they stand by path.

        Raises:
            FetchError: some could not be fetched; all others were.
        """
        self._refuse_full_disk(tasks)
        pools: dict[str, ThreadPoolExecutor] = {}
        running: dict[Future[Standing], _Task] = {}
        done: dict[str, Standing] = {}
        faults: list[FetchError] = []
        try:
            for task in tasks:
                host = host_of(task.offer.address)
                if host not in pools:
                    pools[host] = ThreadPoolExecutor(self.options.per_host, thread_name_prefix="fetch")
                running[pools[host].submit(self._fetch_one, task)] = task
            for future in as_completed(running):
                task = running[future]
                try:
                    done[task.destination.path] = future.result()
                except FetchError as fault:
                    faults.append(fault.about(file=task.destination.path, url=task.want.url or ""))
                except OSError as fault:
                    faults.append(disk_error(fault, task.destination.path))
        finally:  # also where the user ends it: running downloads stop at their next chunk
            self.options.patience.stop.set()
            for pool in pools.values():
                pool.shutdown(wait=True, cancel_futures=True)
        if len(faults) == 1:
            raise faults[0]
        if faults:
            first = sorted(faults, key=str)
            raise FetchError(
                f"{len(faults)} of {len(tasks)} files could not be fetched; the first: {first[0]}",
                file=self.spec.dataset_id,
            )
        return done

    def _refuse_full_disk(self, tasks: Sequence[_Task]) -> None:
        """Refuse to begin what cannot end; of an archive, at least its own size comes out of it."""
        needed = 0
        for task in tasks:
            part = self._part(task.destination)
            n_bytes = task.stands.n_bytes or 0
            needed += max(0, n_bytes - (part.stat().st_size if part.exists() else 0))
            needed += n_bytes if task.destination.is_unpacked else 0
        free = free_bytes(self.folder)
        if needed > free:
            raise NoSpaceError(
                f"{needed:,} bytes are needed at least, {free:,} are free",
                file=self.spec.dataset_id,
                remedy=f"free some space, or name a folder on another disk instead of {self.folder}",
            )

    def _part(self, destination: Destination) -> Path:
        """Return the part file of a download; its name matches no pattern of any dataset."""
        return self.folder / WORK / f"{hashlib.sha256(destination.path.encode()).hexdigest()[:16]}.part"

    def _fetch_one(self, task: _Task) -> Standing:
        """Download, verify and place one file; one process at a time."""
        part = self._part(task.destination)
        part.parent.mkdir(parents=True, exist_ok=True)
        with self._lock(part):
            # Another process may have fetched it while this one waited.
            stands = self._standing(task.want, task.destination, task.offer, is_only=task.is_only)
            if stands.status != "to fetch":
                return stands
            entry = read_ledger(self.folder).get(task.destination.path)
            downloaded = download(
                task.offer,
                part,
                transport=self._transport(task.offer.address),
                patience=self.options.patience,
                expected=expected(
                    task.want, task.destination, task.offer, None if self.options.is_updated else entry
                ),
                progress=lambda done, total: self.progress(task.destination.path, done, total),
            )
            self._place(task, part, downloaded)
            is_other = entry is not None and entry.sha256 != downloaded.sha256
            return replace(
                task.stands,
                status="updated" if is_other else "fetched",
                n_bytes=downloaded.n_bytes,
                sha256=downloaded.sha256,
                etag=downloaded.state.etag,
            )

    @contextmanager
    def _lock(self, part: Path) -> Iterator[None]:
        """Wait until no other process fetches the same file."""
        lock = FileLock(part.with_suffix(".lock"))
        while True:
            try:
                lock.acquire(timeout=LOCK_POLL_S)
            except Timeout:
                if self.options.patience.stop.is_set():
                    raise interrupted() from None
            else:
                break
        try:
            yield
        finally:
            lock.release()

    def _place(self, task: _Task, part: Path, downloaded: Downloaded) -> None:
        """Record a verified download, then give it its name or unpack it.

        In this order, a killed run leaves a record of files that are not there: they are fetched again. The
        other way round it would leave files that nobody knows of.
        """
        staging = part.with_suffix(".unpacked")
        try:
            if task.destination.is_unpacked:
                members = self._unpack(task, part, staging)
                kept = {path: (member.staged, member.sha256) for path, member in members.items()}
            else:
                kept = {task.destination.path: (part, downloaded.sha256)}
            fetched = FetchedFile(
                url=task.want.url or "",
                sha256=downloaded.sha256,
                n_bytes=downloaded.n_bytes,
                etag=downloaded.state.etag,
                last_modified=downloaded.state.last_modified,
                retrieved_at=datetime.now(UTC).isoformat(timespec="seconds"),
                files=tuple(local_file(path, staged, sha256) for path, (staged, sha256) in kept.items()),
            )
            record(self.folder, task.destination.path, fetched)
            for path, (staged, _) in kept.items():
                target = self.folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                staged.replace(target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        forget(part)

    def _unpack(self, task: _Task, part: Path, staging: Path) -> Mapping[str, Member]:
        """Unpack an archive beside its part file; return its members by the path that each goes to."""
        shutil.rmtree(staging, ignore_errors=True)  # of a run that was killed
        staging.mkdir()
        limits = replace(self.options.limits, n_bytes=min(self.options.limits.n_bytes, free_bytes(staging)))
        return self._members_by_path(task, unpack(part, task.destination.path, staging, limits=limits))

    def _members_by_path(self, task: _Task, members: Sequence[Member]) -> Mapping[str, Member]:
        """Return where the members go, having checked that they are wanted there and may go there.

        Raises:
            ChecksumError: a member has not the digest that the dataset pins.
            FetchError: one is in the way of a file that did not come from this archive, or none is wanted.
        """
        parent = Path(task.destination.path).parent.as_posix()
        below = {member.path if parent == "." else f"{parent}/{member.path}": member for member in members}
        for file in task.want.files:
            if file.is_required and not any(matches(path, file.pattern) for path in below):
                raise FetchError(f"the archive holds no file that matches {file.pattern}")
        entry = read_ledger(self.folder).get(task.destination.path)
        ours = {file.path for file in entry.files} if entry is not None else set()
        for path, member in below.items():
            pinned = task.want.sha256_of(path)
            if pinned is not None and pinned.lower() != member.sha256:
                raise ChecksumError(
                    f"its member {path} has sha256 {member.sha256}, but the dataset pins {pinned}",
                    remedy="the publisher has replaced the archive",
                )
            if (self.folder / path).exists() and path not in ours and not self.options.is_updated:
                raise FetchError(
                    f"its member {path} is there already, from elsewhere",
                    remedy="move that file away, or replace it with --update",
                )
        return below
