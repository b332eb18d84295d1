"""Files, written whole or not at all, and read in one piece.

`write_atomically` writes a temporary file in the folder of its target, flushes it to the disk and renames it, so that a
reader, or whoever comes after a crash, finds the old file or the new one. The temporary is called
`.NAME.PID.RANDOM.construct-tmp` and locked by its writer for as long as that lives; one that nobody holds was left by a
writer that was killed, and is removed by the next one of the same target.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import os
import secrets
import stat
from collections.abc import Iterator
from os import PathLike
from typing import Any, BinaryIO

from construct.validation import invalid

FileName = str | PathLike[str]

ENDING = ".construct-tmp"
LONGEST_NAME = 160  # bytes of a target's name that its temporary repeats; longer ones are named by a digest
ATTEMPTS = 100
SHOWN = 300  # characters of a path in a message
PERMISSIONS = 0o666  # less what the umask takes
PATH_ERRORS = "EACCES EPERM EROFS ENOENT ENOTDIR EISDIR ELOOP ENAMETOOLONG EINVAL EILSEQ ENXIO ETXTBSY"
OF_THE_PATH = frozenset(getattr(errno, name) for name in PATH_ERRORS.split() if hasattr(errno, name))
"""Errors that another path would not have; a full disk, say, is none of them and goes to the caller as it is."""

_locks: Any = importlib.import_module("fcntl") if os.name == "posix" else None


def path_text(path: object, name: str = "path") -> str:
    """A path as text.

    Raises:
        InputError: it is no path, or none that a file can have.
    """
    expected = "a path (str or os.PathLike)"
    if not isinstance(path, str | PathLike):
        raise invalid(name, expected, path)
    text = os.fspath(path)
    if not isinstance(text, str):
        raise invalid(name, expected, text)
    if not text or "\0" in text:
        raise invalid(name, "a path of at least one character and without NUL", text)
    try:
        os.fsencode(text)
    except UnicodeError:
        raise invalid(name, "a path that this system can write", text) from None
    return text


def shortened(text: str) -> str:
    """A path for a message."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def writable_place(path: object, name: str = "path") -> str:
    """Where a file of this path would be written, links followed as `open` does.

    Raises:
        InputError: no path, its folder is not there, it is something that is not a regular file, or it cannot be
            written.
    """
    text = path_text(path, name)
    with _naming(name, text):
        place = os.path.realpath(text)
        folder = os.path.dirname(place)
        found = _mode(place)
        if text.endswith(os.sep) or (found is not None and stat.S_ISDIR(found)):
            raise invalid(name, "a file in a folder that exists", got=f"{shortened(text)!r}, a folder")
        if not os.path.isdir(folder):
            raise invalid(
                name,
                "a file in a folder that exists",
                got=f"{shortened(text)!r}; there is no folder {shortened(folder)!r}",
            )
        if found is not None and not stat.S_ISREG(found):
            raise invalid(name, "a regular file, or none yet", got=f"{shortened(text)!r}, {_kind(found)}")
        if not os.access(folder, os.W_OK | os.X_OK) or (found is not None and not os.access(place, os.W_OK)):
            raise invalid(name, "a file that can be written", got=f"{shortened(text)!r}, which this user may not write")
    return place


def write_atomically(path: FileName, data: bytes, name: str = "path") -> None:
    """Make `data` the contents of a file, all of it or nothing.

    Permissions are those of the file that is replaced, of a new one what the umask leaves. A link is followed: what it
    points to is written.

    Raises:
        InputError: as `writable_place`; named `name`.
        OSError: the disk is full, or fails.
    """
    place = writable_place(path, name)
    with _naming(name, str(path)):
        descriptor, temporary = _new_temporary(place)
        try:
            try:
                if (found := _mode(place)) is not None:
                    os.chmod(temporary, stat.S_IMODE(found))
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
                os.fsync(descriptor)
                os.replace(temporary, place)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
        finally:
            os.close(descriptor)
        _flush_folder(os.path.dirname(place))
        remove_abandoned(place)


def remove_abandoned(place: str) -> None:
    """Remove temporaries of this target whose writers are dead; what is locked belongs to a living one."""
    folder, file = os.path.split(place)
    start = _stem(file)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        found = [entry.path for entry in entries if _is_temporary_of(entry.name, start)]
        for temporary in found:
            with contextlib.suppress(OSError):
                _remove_if_unlocked(temporary)


@contextlib.contextmanager
def opened(path: object, *, most: int, name: str = "path") -> Iterator[tuple[BinaryIO, int]]:
    """A regular file, opened once, and its size: all that is read of it is of one and the same file.

    Raises:
        InputError: no path, no such file, something that is not a regular file, not to be read, or above `most` bytes.
    """
    text = path_text(path, name)
    with _naming(name, text):
        # not blocking: a FIFO without a writer would never open
        descriptor = os.open(text, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise invalid(name, "a file", got=f"{shortened(text)}, which is {_kind(found.st_mode)}")
        if found.st_size > most:
            raise invalid(name, f"a file of at most {most:,} bytes", got=f"{shortened(text)} of {found.st_size:,}")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            try:
                yield stream, found.st_size
            except OSError as error:
                got = f"{shortened(text)}, which cannot ({error.strerror})"
                raise invalid(name, "a file that can be read", got=got) from error
    finally:
        os.close(descriptor)


def read_whole(path: object, *, most: int, name: str = "path") -> bytes:
    """The bytes of a regular file; raises as `opened`."""
    with opened(path, most=most, name=name) as (stream, size), _naming(name, str(path)):
        return stream.read(size)


# -- within -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _naming(name: str, text: str) -> Iterator[None]:
    """Errors that come of the path are errors of the argument."""
    try:
        yield
    except OSError as error:
        if error.errno not in OF_THE_PATH:
            raise
        why = "not there" if error.errno == errno.ENOENT else f"not to be had ({error.strerror})"
        raise invalid(name, "a file", got=f"{shortened(text)}, which is {why}") from error


def _mode(place: str) -> int | None:
    """What stands there, None: nothing."""
    try:
        return os.stat(place).st_mode
    except FileNotFoundError:
        return None


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _stem(file: str) -> str:
    long = len(os.fsencode(file)) > LONGEST_NAME
    return f".{hashlib.sha256(os.fsencode(file)).hexdigest() if long else file}."


def _is_temporary_of(name: str, start: str) -> bool:
    parts = name.removeprefix(start).removesuffix(ENDING).split(".")
    return name.startswith(start) and name.endswith(ENDING) and len(parts) == 2 and parts[0].isdecimal()


def _new_temporary(place: str) -> tuple[int, str]:
    """A new file beside the target, open and locked.

    Between its creation and the lock another writer may take it for abandoned and remove it: then there is no file of
    this name any more, and the next name is tried.
    """
    folder, file = os.path.split(place)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    for _ in range(ATTEMPTS):
        temporary = os.path.join(folder, f"{_stem(file)}{os.getpid()}.{secrets.token_hex(8)}{ENDING}")
        try:
            descriptor = os.open(temporary, flags, PERMISSIONS)
        except FileExistsError:
            continue
        _lock(descriptor, wait=True)
        if _is_still(descriptor, temporary):
            return descriptor, temporary
        os.close(descriptor)
    raise invalid("path", "a folder in which a file can be made", got=folder)


def _lock(descriptor: int, *, wait: bool) -> bool:
    """Lock an open file; False where that is not possible, or, without waiting, another one has it."""
    if _locks is None:
        return False
    try:
        _locks.flock(descriptor, _locks.LOCK_EX | (0 if wait else _locks.LOCK_NB))
    except OSError:  # held by another, or a file system without locks
        return False
    return True


def _is_still(descriptor: int, place: str) -> bool:
    """Whether the open file is the one of this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(place))
    except FileNotFoundError:
        return False


def _remove_if_unlocked(temporary: str) -> None:
    if not stat.S_ISREG(os.lstat(temporary).st_mode):
        return
    descriptor = os.open(temporary, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        if _lock(descriptor, wait=False) and _is_still(descriptor, temporary):
            os.unlink(temporary)
    finally:
        os.close(descriptor)


def _flush_folder(folder: str) -> None:
    """Make the new name last. File systems that cannot do that say so; the file is whole all the same."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
