"""A place that is a bucket of an S3-compatible store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from ..errors import StorageError
from .place import Found, PlaceSettings

_PART_BYTES = 16 << 20


class Bucket:
    """Keeps objects in a bucket. Large ones go up in parts; a part that is cut short is never an object."""

    def __init__(self, settings: PlaceSettings) -> None:
        self._settings = settings
        self._made: Any = None

    @property
    def name(self) -> str:
        """The bucket and the prefix."""
        return f"s3://{self._settings.bucket}/{self._settings.prefix}"

    @property
    def _store(self) -> Any:
        if self._made is None:
            try:
                from obstore.store import S3Store
            except ImportError:
                raise StorageError(
                    "a bucket needs the package obstore; install wharfd[backups], or name a folder"
                ) from None
            settings, options = self._settings, {}
            if settings.endpoint is not None:
                options["endpoint"] = settings.endpoint
            if settings.access_key_id is not None and settings.secret_access_key is not None:
                options["access_key_id"] = settings.access_key_id.reveal()
                options["secret_access_key"] = settings.secret_access_key.reveal()
            plain = bool(settings.endpoint and settings.endpoint.startswith("http://"))
            self._made = S3Store(
                settings.bucket,
                prefix=settings.prefix or None,
                region=settings.region,
                client_options={"allow_http": plain, "timeout": "5m"},
                retry_config={"max_retries": 5},
                **cast(Any, options),
            )
        return self._made

    def put(self, key: str, source: Path) -> None:
        """Keep a copy of the file under the key."""
        import obstore

        with source.open("rb") as file, _told(self.name, key):
            obstore.put(self._store, key, file, chunk_size=_PART_BYTES)

    def create(self, key: str, data: bytes) -> None:
        """Keep a small object; raises `FileExistsError` when the key is taken."""
        import obstore

        with _told(self.name, key):
            obstore.put(self._store, key, data, mode="create", use_multipart=False)

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading; raises `FileNotFoundError`."""
        import obstore

        with _told(self.name, key):
            return cast(BinaryIO, _Reading(obstore.open_reader(self._store, key)))

    def size(self, key: str) -> int | None:
        """Return an object's size in bytes, None when it is not there."""
        import obstore

        try:
            with _told(self.name, key):
                return int(obstore.head(self._store, key)["size"])
        except FileNotFoundError:
            return None

    def list(self, prefix: str) -> Iterator[Found]:
        """Give the objects whose key begins with the prefix, sorted by key."""
        import obstore

        folder, found = prefix.rpartition("/")[0], []
        with _told(self.name, prefix):
            for batch in obstore.list(self._store, prefix=folder or None):
                found += [Found(one["path"], int(one["size"])) for one in batch]
        yield from sorted((one for one in found if one.key.startswith(prefix)), key=lambda one: one.key)

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens when it is not there."""
        import obstore

        try:
            with _told(self.name, key):
                obstore.delete(self._store, key)
        except FileNotFoundError:
            pass


class _Reading:
    """A file-like view of an object, with bytes and not the store's buffers."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def read(self, size: int = -1) -> bytes:
        return bytes(self._reader.read(None if size < 0 else size))

    def close(self) -> None:
        self._reader.close()

    def __enter__(self) -> _Reading:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _told:
    """Turn the store's errors into sentences; its own texts may hold signed URLs and are not passed on."""

    def __init__(self, place: str, key: str) -> None:
        self._place, self._key = place, key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if kind is None or error is None or isinstance(error, StorageError):
            return
        words = kind.__name__
        if isinstance(error, FileNotFoundError) or words == "NotFoundError":
            raise FileNotFoundError(f"{self._key} is not in {self._place}") from None
        if words in ("AlreadyExistsError", "PreconditionError"):
            raise FileExistsError(f"{self._key} is in {self._place} already") from None
        if words.endswith("Error") and kind.__module__.startswith("obstore"):
            raise StorageError(f"{self._place} cannot be used for {self._key}: {words}") from None
