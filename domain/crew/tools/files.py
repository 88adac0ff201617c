"""Reads and writes files of one project, inside of one directory, through no link."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from uuid import uuid4

from pydantic import BaseModel, Field

from domain.crew.tools.settings import ToolSettings
from domain.crew.tools.watched import ToolFault

READ_DESCRIPTION: Final = (
    "Reads a text file of this project and returns its content. With the path '.' or that of a folder, lists the files."
)
WRITE_DESCRIPTION: Final = "Writes a text file of this project; folders are made, a file of this name is replaced."
MAX_PATH: Final = 500
MAX_DEPTH: Final = 10
_FOLDER: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # a named pipe must not block


class ReadArguments(BaseModel):
    path: str = Field(description="Path of the file, relative, e.g. 'notes/plan.md'", max_length=MAX_PATH)


class WriteArguments(BaseModel):
    path: str = Field(description="Path of the file, relative, e.g. 'notes/plan.md'", max_length=MAX_PATH)
    content: str = Field(description="The whole text of the file")


@dataclass(frozen=True, slots=True)
class ProjectFiles:
    """The files of one project; `root` is its own directory, made when the first file is written."""

    root: Path
    settings: ToolSettings

    def read(self, path: str) -> str:
        """The text of a file, or the names in a folder, one per line, folders with a slash. Raises ToolFault."""
        *folders, name = _parts(path) or ["."]
        with _faults(path), self._folder(folders, make=False) as folder:
            return self._content(name, folder)

    def write(self, path: str, content: str) -> str:
        """Replace the file as a whole; nobody reads half of it. Raises ToolFault: not allowed, too large, no room."""
        data = content.encode(errors="replace")
        *folders, name = _parts(path) or [""]
        if not name:
            raise ToolFault("a file needs a name.")
        if len(data) > self.settings.max_bytes:
            raise ToolFault(f"the file is larger than {self.settings.max_bytes} bytes.")
        self._find_room(self.root.joinpath(*folders, name), len(data))
        with _faults(path), self._folder(folders, make=True) as folder:
            _replace(folder, name, data)
        return f"Wrote {len(data)} bytes to {'/'.join([*folders, name])}."

    def _content(self, name: str, folder: int) -> str:
        descriptor = os.open(name, os.O_RDONLY | _NO_LINK, dir_fd=folder)
        with os.fdopen(descriptor, "rb", closefd=True) if _is_file(descriptor) else _closing(descriptor) as file:
            if isinstance(file, int):
                return _names(file)
            data = file.read(self.settings.max_bytes + 1)
        if len(data) > self.settings.max_bytes:
            raise ToolFault(f"the file is larger than {self.settings.max_bytes} bytes.")
        return data.decode(errors="replace")

    @contextmanager
    def _folder(self, names: list[str], *, make: bool) -> Iterator[int]:
        # Folder by folder from the root, each opened without following a link: no check that a link could outrun.
        if make:
            self.root.mkdir(parents=True, exist_ok=True)
        current = os.open(self.root, _FOLDER)
        try:
            for name in names:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(name, dir_fd=current)
                inner = os.open(name, _FOLDER, dir_fd=current)
                os.close(current)
                current = inner
            yield current
        finally:
            os.close(current)

    def _find_room(self, file: Path, size: int) -> None:
        entries = 0
        for folder, folders, names in os.walk(self.root):
            others = [other for name in names if (other := Path(folder, name)) != file]
            entries += len(others) + len(folders)
            size += sum(map(_size, others))
        if entries >= self.settings.max_project_files:
            raise ToolFault(f"this project has {self.settings.max_project_files:,} files and folders already.")
        if size > self.settings.max_project_bytes:
            raise ToolFault("the files of this project take too much room.")


def _size(file: Path) -> int:
    with suppress(FileNotFoundError):  # another task has replaced or renamed it by now
        return file.lstat().st_size
    return 0


def _is_file(descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


@contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _names(folder: int) -> str:
    if not stat.S_ISDIR(os.fstat(folder).st_mode):
        raise ToolFault("this is neither a file nor a folder.")
    with os.scandir(folder) as entries:
        names = sorted(entry.name + "/" * entry.is_dir(follow_symlinks=False) for entry in entries)
    return "\n".join(names) or "The folder is empty."


def _replace(folder: int, name: str, data: bytes) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise ToolFault("this is no file.")
    draft = f".{uuid4().hex}.part"
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o640, dir_fd=folder)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=folder)
        raise


def _parts(path: str) -> list[str]:
    if "\x00" in path or "\\" in path or not path.isprintable():
        raise ToolFault("the path has characters that are not allowed.")
    parsed = PurePosixPath(path)
    if parsed.is_absolute() or ".." in parsed.parts or len(parsed.parts) > MAX_DEPTH:
        raise ToolFault("only relative paths inside of the project's folder are allowed.")
    return list(parsed.parts)


@contextmanager
def _faults(path: str) -> Iterator[None]:
    # The system's own message would show where the files lie on the server.
    try:
        yield
    except FileNotFoundError as error:
        raise ToolFault(f"there is no file {path!r}.") from error
    except OSError as error:
        raise ToolFault(f"{path!r} cannot be opened.") from error
