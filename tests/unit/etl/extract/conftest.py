"""Servers on loopback, and a dataset whose files they offer."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from etl.extract.fetch import Options
from etl.extract.patience import Patience
from etl.extract.web import Web
from etl.sources.base import RemoteFile, SourceSpec
from tests.unit.etl.extract.file_servers import FileServer, FtpServer, serving, serving_ftp


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as running:
        yield running


@pytest.fixture
def ftp_server() -> Iterator[FtpServer]:
    with serving_ftp() as running:
        yield running


@pytest.fixture
def web() -> Iterator[Web]:
    opened = Web(connect_timeout_s=2, read_timeout_s=5)
    yield opened
    opened.close()


@pytest.fixture
def patience() -> Patience:
    """Waits that no test notices."""
    return Patience(n_retries=3, wait_s=0.001, longest_wait_s=1)


@pytest.fixture
def options(patience: Patience) -> Options:
    return Options(patience=patience)


@pytest.fixture
def spec_of() -> Callable[..., SourceSpec]:
    def make(*files: RemoteFile, **facts: object) -> SourceSpec:
        stated = {
            "dataset_id": "toy",
            "title": "Toy",
            "assay": "l1000",
            "readout": "none",
            "value_scale": "log2",
            "license": "CC0-1.0",
            "is_redistributable": True,
            "access": "open",
            "release": "1",
        }
        return SourceSpec(files=files, **stated | facts)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that vouches for itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    today = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    unencrypted = serialization.NoEncryption()
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, unencrypted)
    )
    return path
