"""Packing: compressed by zstd with a checksum, then encrypted to age recipients; and the way back.

Both ways stream in constant memory and block: call them in a thread. Whoever holds only the recipient can
pack and not unpack.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol

import msgspec

from ..errors import StorageError
from ..secrets import Secret

_CHUNK = 1 << 20
_INSTALL = "install wharfd[backups]"


class Readable(Protocol):
    """Something that gives bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, b"" at the end."""
        ...


class Packing(msgspec.Struct, frozen=True):
    """How something is packed: `recipients` are age public keys; without any it is only compressed."""

    recipients: tuple[str, ...] = ()
    level: int = 3
    threads: int = 0

    @property
    def suffix(self) -> str:
        """What a packed object's key ends with."""
        return ".zst.age" if self.recipients else ".zst"


class Packed(msgspec.Struct, frozen=True):
    """What was packed: bytes before and after, and the SHA-256 of the packed bytes."""

    bytes_in: int
    bytes_out: int
    sha256: str


class _Source:
    """Counts what is read and shows it to a watcher."""

    def __init__(self, source: Readable, watch: Callable[[bytes], None] | None) -> None:
        self.total = 0
        self.error: BaseException | None = None
        self._source, self._watch = source, watch

    def read(self, size: int = -1) -> bytes:
        try:
            data = self._source.read(_CHUNK if size < 0 else size)
            self.total += len(data)
            if data and self._watch is not None:
                self._watch(data)
        except BaseException as error:
            self.error = error
            raise
        return data


class _Target:
    """Counts and hashes what is written, and remembers an error: age drops those of its last bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self.total = 0
        self.sha = hashlib.sha256()
        self.error: BaseException | None = None
        self._file = file

    def write(self, data: bytes) -> int:
        if self.error is not None:
            raise self.error
        try:
            self._file.write(data)
        except BaseException as error:
            self.error = error
            raise
        self.sha.update(data)
        self.total += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing to do: the file is settled when it is whole."""


def pack(
    source: Readable, target: BinaryIO, how: Packing, *, watch: Callable[[bytes], None] | None = None
) -> Packed:
    """Pack everything `source` gives into `target`; `watch` sees the plain bytes as they pass.

    Raises what reading, watching or writing raised, and `StorageError` for a recipient that is none.
    """
    zstandard, pyrage = _modules()
    reading, writing = _Source(source, watch), _Target(target)
    compressor = zstandard.ZstdCompressor(level=how.level, write_checksum=True, threads=how.threads)
    with compressor.stream_reader(reading, read_size=_CHUNK) as compressed:
        if how.recipients:
            recipients = [_recipient(pyrage, text) for text in how.recipients]
            try:
                pyrage.encrypt_io(compressed, writing, recipients)
            except Exception as error:
                raise _cause(error, reading, writing) from None
            if reading.error or writing.error:
                raise _cause(StorageError("packing was cut short"), reading, writing) from None
        else:
            while chunk := compressed.read(_CHUNK):
                writing.write(chunk)
    return Packed(reading.total, writing.total, writing.sha.hexdigest())


def unpack(source: Readable, write: Callable[[bytes], Any], identity: Secret | None, *, name: str) -> Packed:
    """Give the plain bytes of a packed object piece by piece to `write`.

    Whether it is encrypted is seen by its first bytes. Every way in which it is not what was packed raises
    `StorageError` naming `name`; what `write` has got until then is to be thrown away.
    """
    zstandard, pyrage = _modules()
    reading = _Hashed(source)
    plain = _Plain(zstandard, write)
    start = reading.read(64)
    again = _Again(start, reading)
    try:
        if start.startswith(b"age-encryption.org/"):
            if identity is None:
                raise StorageError(f"{name} is encrypted, and no identity to open it with was given")
            pyrage.decrypt_io(again, plain, [_identity(pyrage, identity)])
        else:
            while chunk := again.read(_CHUNK):
                plain.write(chunk)
    except StorageError:
        raise
    except pyrage.DecryptError:
        raise StorageError(f"{name} cannot be opened with this identity; it was made for another") from None
    except Exception as error:
        if plain.error is not None:
            raise plain.error from None
        raise StorageError(f"{name} is damaged: {_words(error)}") from None
    if plain.error is not None:
        raise plain.error
    if not plain.whole:
        raise StorageError(f"{name} is damaged: it ends too early")
    return Packed(plain.total, reading.total, reading.sha.hexdigest())


class _Hashed:
    def __init__(self, source: Readable) -> None:
        self.total = 0
        self.sha = hashlib.sha256()
        self._source = source

    def read(self, size: int = -1) -> bytes:
        data = bytes(self._source.read(_CHUNK if size < 0 else size))
        self.sha.update(data)
        self.total += len(data)
        return data


class _Again:
    """Gives the first bytes once more, then the rest."""

    def __init__(self, start: bytes, rest: Readable) -> None:
        self._start, self._rest = start, rest

    def read(self, size: int = -1) -> bytes:
        if self._start:
            size = len(self._start) if size < 0 else size
            given, self._start = self._start[:size], self._start[size:]
            return given
        return self._rest.read(size)


class _Plain:
    """Takes compressed bytes and hands on plain ones."""

    def __init__(self, zstandard: Any, write: Callable[[bytes], Any]) -> None:
        self.total = 0
        self.error: BaseException | None = None
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._damage = zstandard.ZstdError
        self._write = write

    @property
    def whole(self) -> bool:
        return bool(self._frame.eof) and not self._frame.unused_data

    def write(self, data: bytes) -> int:
        try:
            plain = self._frame.decompress(bytes(data)) if not self._frame.eof else self._too_much()
            self.total += len(plain)
            if plain:
                self._write(plain)
        except self._damage:
            self.error = StorageError("it is damaged: its checksum does not fit")
            raise
        except BaseException as error:
            self.error = error
            raise
        return len(data)

    def flush(self) -> None:
        """Nothing to do."""

    @staticmethod
    def _too_much() -> bytes:
        raise StorageError("it is damaged: there is something behind its end")


def make_identity() -> tuple[str, str]:
    """Return a new age identity (to be kept safe) and its recipient (to pack with)."""
    _, pyrage = _modules()
    identity = pyrage.x25519.Identity.generate()
    return str(identity), str(identity.to_public())


def recipient_of(identity: Secret) -> str:
    """Return the recipient that belongs to an identity."""
    _, pyrage = _modules()
    return str(_identity(pyrage, identity).to_public())


def _cause(error: BaseException, reading: _Source, writing: _Target) -> BaseException:
    return reading.error or writing.error or error


def _recipient(pyrage: Any, text: str) -> Any:
    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        raise StorageError(f"{text!r} is no age recipient; one begins with age1") from None


def _words(error: Exception) -> str:
    """Say what a failed read was; what age says of changed bytes has no words of its own."""
    if isinstance(error, OSError) and error.errno is None:
        return "its bytes are not those that were encrypted, or it is cut short"
    return str(error) or type(error).__name__


def _identity(pyrage: Any, identity: Secret) -> Any:
    lines = [line for line in identity.reveal().splitlines() if line and not line.startswith("#")]
    try:
        return pyrage.x25519.Identity.from_str(lines[0].strip() if lines else "")
    except pyrage.IdentityError:
        raise StorageError("the identity is no age identity; one begins with AGE-SECRET-KEY-1") from None


def _modules() -> tuple[Any, Any]:
    try:
        import pyrage
        import zstandard
    except ImportError as error:
        raise StorageError(f"packing needs the package {error.name}; {_INSTALL}") from None
    return zstandard, pyrage
