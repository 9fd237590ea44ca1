"""What can go wrong while files are fetched, each in one line that names file, address, event and remedy.

``TransientFault`` and ``UselessPartialError`` never reach the user: they tell the download what to do next.
"""

from etl.errors import PerturbhouseError


class FetchError(PerturbhouseError):
    """A file that could not be fetched.

    Args:
        what: what happened.
        file: the file, as it is named below the dataset's raw folder.
        url: the publisher's address.
        remedy: what the user can do.
    """

    def __init__(
        self, what: str, *, file: str | None = None, url: str | None = None, remedy: str | None = None
    ) -> None:
        self.what, self.file, self.url, self.remedy = what, file, url, remedy
        super().__init__(what)

    def __str__(self) -> str:
        address = f"from {self.url}" if self.url else ""
        where = " ".join(part for part in (self.file or "", address) if part)
        said = f"{where}: {self.what}" if where else self.what
        return f"{said}; {self.remedy}" if self.remedy else said

    def about(self, *, file: str, url: str) -> "FetchError":
        """Return the same error with the file and the publisher's address, where it did not name them."""
        return type(self)(self.what, file=self.file or file, url=self.url or url, remedy=self.remedy)


class AccessError(FetchError):
    """Files that only a person can get: after a registration, on request, or from a page."""


class ChecksumError(FetchError):
    """A complete file whose bytes are not those that are pinned, stated by the publisher or recorded."""


class UnsafeArchiveError(FetchError):
    """An archive with a member that would leave its folder, a link, a device, or too much of anything."""


class NoSpaceError(FetchError):
    """The disk cannot take what is to be fetched."""


class TransientFault(Exception):  # noqa: N818 - an event that is waited out, not an error of anyone
    """Something that may pass: a cut connection, a busy server.

    Args:
        what: what happened.
        wait_s: how long the server asks to wait; None where it does not say.
    """

    def __init__(self, what: str, *, wait_s: float | None = None) -> None:
        self.what, self.wait_s = what, wait_s
        super().__init__(what)


class UselessPartialError(Exception):
    """What was downloaded so far does not belong to what the server offers now; it has to start anew."""
