"""Archives: what is unpacked, and what is refused as a whole."""

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from etl.extract.archives import Limits, unpack
from etl.extract.errors import FetchError, NoSpaceError, UnsafeArchiveError

ROWS = b"gene\tvalue\nTP53\t1\n"


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    folder = tmp_path / "staging"
    folder.mkdir()
    return folder


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def tarred(path: Path, *members: tuple[tarfile.TarInfo | str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for member, content in members:
            entry = tarfile.TarInfo(member) if isinstance(member, str) else member
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def unpacked(archive: Path, staging: Path, limits: Limits | None = None) -> dict[str, bytes]:
    members = unpack(archive, archive.name, staging, limits=limits or Limits())
    for member in members:
        assert member.staged.parent == staging
        assert member.sha256 == sha256(member.staged.read_bytes()).hexdigest()
        assert member.n_bytes == member.staged.stat().st_size
    return {member.path: member.staged.read_bytes() for member in members}


@pytest.mark.parametrize(
    ("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tgz", "w:gz"), ("a.tar.bz2", "w:bz2")]
)
def test_the_files_of_a_tar_come_out_with_their_paths(
    tmp_path: Path, staging: Path, name: str, mode: str
) -> None:
    folder = tarfile.TarInfo("data")
    folder.type = tarfile.DIRTYPE
    archive = tarred(
        tmp_path / name, (folder, b""), ("./data/values.tsv", ROWS), ("README", b"hello"), mode=mode
    )
    assert unpacked(archive, staging) == {"data/values.tsv": ROWS, "README": b"hello"}


def test_the_files_of_a_zip_come_out_with_their_paths(tmp_path: Path, staging: Path) -> None:
    archive = zipped(tmp_path / "a.zip", ("data/", b""), ("data/values 10μM.tsv", ROWS), ("empty", b""))
    assert unpacked(archive, staging) == {"data/values 10μM.tsv": ROWS, "empty": b""}


@pytest.mark.parametrize(("suffix", "compress"), [("gz", gzip), ("bz2", bz2), ("xz", lzma)])
def test_a_compressed_file_is_called_by_what_comes_before(
    tmp_path: Path, staging: Path, suffix: str, compress
) -> None:
    archive = tmp_path / f"values.tsv.{suffix}"
    archive.write_bytes(compress.compress(ROWS) + compress.compress(b"MYC\t2\n"))  # of two parts, as bgzip's
    assert unpacked(archive, staging) == {"values.tsv": ROWS + b"MYC\t2\n"}


@pytest.mark.parametrize(
    "path",
    ["../evil", "a/../../evil", "/etc/evil", "a//evil", "a\\..\\evil", "C:evil", "a/\nevil", ".fetched.json"],
)
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_member_that_would_leave_its_folder_stops_all(
    tmp_path: Path, staging: Path, kind: str, path: str
) -> None:
    write = zipped if kind == "zip" else tarred
    archive = write(tmp_path / f"a.{kind}", ("good", ROWS), (path, b"evil"))
    with pytest.raises(UnsafeArchiveError, match=rf"^a\.{kind}: the archive is not unpacked: its member"):
        unpacked(archive, staging)
    assert [item.name for item in tmp_path.rglob("*evil*")] == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_of_a_tar_are_refused(tmp_path: Path, staging: Path, kind: bytes) -> None:
    entry = tarfile.TarInfo("values.tsv")
    entry.type, entry.linkname = kind, "/etc/passwd"
    with pytest.raises(UnsafeArchiveError, match=r"its member 'values\.tsv' is a link or a device"):
        unpacked(tarred(tmp_path / "a.tar.gz", (entry, b"")), staging)


def test_links_of_a_zip_are_refused(tmp_path: Path, staging: Path) -> None:
    entry = zipfile.ZipInfo("values.tsv")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(UnsafeArchiveError, match="is a link or a device"):
        unpacked(zipped(tmp_path / "a.zip", (entry, b"/etc/passwd")), staging)


def test_an_encrypted_member_is_refused(tmp_path: Path, staging: Path) -> None:
    archive = zipped(tmp_path / "a.zip", ("values.tsv", ROWS))
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(UnsafeArchiveError, match="is encrypted"):
        unpacked(archive, staging)


def test_a_name_that_comes_twice_is_refused(tmp_path: Path, staging: Path) -> None:
    archive = tarred(tmp_path / "a.tar.gz", ("values.tsv", ROWS), ("Values.tsv", ROWS))
    with pytest.raises(UnsafeArchiveError, match=r"it holds 'Values\.tsv' twice"):
        unpacked(archive, staging)


@pytest.mark.parametrize("name", ["bomb.zip", "bomb.tar.gz", "bomb.gz"])
def test_a_bomb_is_stopped_while_it_grows(tmp_path: Path, staging: Path, name: str) -> None:
    zeros = bytes(5_000_000)
    archive = tmp_path / name
    if name == "bomb.gz":
        archive.write_bytes(gzip.compress(zeros))
    else:
        (zipped if name == "bomb.zip" else tarred)(archive, ("zeros", zeros))
    with pytest.raises(UnsafeArchiveError, match="it grows beyond 2,000,000 bytes"):
        unpacked(archive, staging, Limits(free_ratio_bytes=2_000_000))
    assert sum(path.stat().st_size for path in staging.iterdir()) <= 2_000_000


def test_too_many_members_are_refused(tmp_path: Path, staging: Path) -> None:
    archive = zipped(tmp_path / "a.zip", *((f"{n}.tsv", b"") for n in range(4)))
    with pytest.raises(UnsafeArchiveError, match="more than 3 files"):
        unpacked(archive, staging, Limits(n_members=3))


def test_more_than_the_disk_can_take_is_not_unpacked(tmp_path: Path, staging: Path) -> None:
    archive = zipped(tmp_path / "a.zip", ("values.tsv", ROWS))
    with pytest.raises(NoSpaceError, match="the disk cannot take it unpacked"):
        unpacked(archive, staging, Limits(n_bytes=4))


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tsv.gz", "a.tsv.bz2", "a.tsv.xz"])
@pytest.mark.parametrize("damage", ["cut", "noise"])
def test_a_damaged_archive_is_one_line(tmp_path: Path, staging: Path, name: str, damage: str) -> None:
    archive = tmp_path / name
    content = bytes(range(256)) * 50
    if name == "a.zip":
        zipped(archive, ("values.tsv", content))
    elif name == "a.tar.gz":
        tarred(archive, ("values.tsv", content))
    else:
        archive.write_bytes({"gz": gzip, "bz2": bz2, "xz": lzma}[name.split(".")[2]].compress(content))
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"no archive at all" * 9)
    with pytest.raises(FetchError, match=f"^{name}: the archive is damaged"):
        unpacked(archive, staging)
