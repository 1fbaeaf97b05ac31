"""How models and data sets get onto this machine: every source is played by the test."""

import hashlib
import io
import json
import re
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest

from scrimp.core import assets
from scrimp.core.assets import Asset, obtain
from scrimp.core.errors import AssetError

FILES = {"config.json": b'{"model_type": "toy"}', "sub/model.safetensors": b"weights" * 1000}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def wheel(files=FILES, links=()):
    """A wheel that holds ``files`` under ``toy/``."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(f"toy/{name}")
            entry.external_attr = (stat.S_IFLNK if name in links else stat.S_IFREG) << 16
            archive.writestr(entry, content)
        archive.writestr("../../escaped.txt", b"zip slip")
        archive.writestr("/escaped.txt", b"zip slip")
    return packed.getvalue()


def tarball(files=FILES, links=(), prefix="toy-1.0/"):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(prefix + name)
            entry.size = len(content)
            if name in links:
                entry.type, entry.linkname, entry.size = tarfile.SYMTYPE, "/etc/passwd", 0
            archive.addfile(entry, io.BytesIO(content))
        entry = tarfile.TarInfo("../../escaped.txt")
        archive.addfile(entry, io.BytesIO(b""))
    return packed.getvalue()


def asset(archive, *, form="wheel", prefix="toy/", files=FILES, **more):
    members = {name: {"member": prefix + name, "sha256": sha256(data)} for name, data in files.items()}
    return Asset(name="toy", kind="model", purpose="a test", licence="mit", package="no-such-toy", version="1.0",
                 form=form, bytes=len(archive), sha256=sha256(archive), files=members, **more)


class Index:
    """A package index: what pip would leave in the folder that it is given."""

    def __init__(self, archive, name="no_such_toy-1.0-py3-none-any.whl"):
        self.archive, self.name, self.calls = archive, name, []

    def __call__(self, command, **options):
        self.calls.append(command)
        pin = Path(command[command.index("-r") + 1]).read_text()
        wanted = re.search(r"--hash=sha256:(\w{64})", pin).group(1)
        if sha256(self.archive) != wanted:  # as pip does
            return SimpleNamespace(returncode=1, stderr="noise\nERROR: THESE PACKAGES DO NOT MATCH THE HASHES\nmore\n")
        folder = Path(command[command.index("--dest") + 1])
        folder.mkdir()
        (folder / self.name).write_bytes(self.archive)
        return SimpleNamespace(returncode=0, stderr="")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SCRIMP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "cache"


@pytest.fixture
def serve(monkeypatch):
    """Make one asset known and give it to an index that has ``archive``."""

    def do(known, archive=b"", index=None):
        monkeypatch.setattr(assets, "known", lambda: [known])
        index = index or Index(archive)
        monkeypatch.setattr(subprocess, "run", index)
        return index

    return do


def content(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


def finished(cache):
    return [path for path in cache.glob("asset-*") if path.is_dir() and not path.name.endswith(".partial")]


# the table --------------------------------------------------------------------------------------------------------

def test_the_table_is_sane():
    known = assets.known()
    assert {"smollm2-135m", "minilm", "vader", "20newsgroups"} <= {entry.name for entry in known}
    assert len({entry.name for entry in known}) == len(known)
    for entry in known:
        assert entry.files and entry.bytes > 0 and entry.purpose
        assert entry.licence or "licence" in entry.note
        for sha in (entry.sha256, *(file.sha256 for file in entry.files.values())):
            assert re.fullmatch(r"[0-9a-f]{64}", sha)
        for name in entry.files:
            assert not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
        assert not any(name.endswith((".py", ".bin", ".pt", ".pkl")) for name in entry.files)
        assert entry.kind == "data" or (entry.hub and entry.licence)


def test_a_mistyped_name():
    with pytest.raises(AssetError, match="no asset is named 'minilmm'") as caught:
        obtain("minilmm")
    assert "did you mean 'minilm'?" in caught.value.fix


# sources ----------------------------------------------------------------------------------------------------------

def test_from_an_installed_package(serve, tmp_path, monkeypatch):
    site = tmp_path / "site"
    for name, data in FILES.items():
        (site / "toy" / name).parent.mkdir(parents=True, exist_ok=True)
        (site / "toy" / name).write_bytes(data)
    (site / "toy" / "__init__.py").write_text("raise SystemExit('imported')")
    (site / "no_such_toy-1.0.dist-info").mkdir()
    (site / "no_such_toy-1.0.dist-info" / "METADATA").write_text("Name: no-such-toy\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(site))
    index = serve(asset(wheel()))
    folder = obtain("toy", offline=True)
    assert content(folder) == FILES and not index.calls
    assert json.loads((folder / "asset.json").read_text())["from"] == "installed package"
    assert obtain("toy", offline=True) == folder


def test_an_installed_package_with_other_content_is_passed_over(serve, tmp_path, monkeypatch):
    (tmp_path / "toy" / "sub").mkdir(parents=True)
    for name in FILES:
        (tmp_path / "toy" / name).write_bytes(b"other")
    (tmp_path / "no_such_toy-1.0.dist-info").mkdir()
    (tmp_path / "no_such_toy-1.0.dist-info" / "METADATA").write_text("Name: no-such-toy\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    serve(asset(wheel()), wheel())
    assert content(obtain("toy")) == FILES


def test_a_wheel_from_the_index(serve, cache):
    index = serve(asset(wheel()), wheel())
    folder = obtain("toy")
    assert content(folder) == FILES and folder.parent == cache
    assert obtain("toy") == folder and len(index.calls) == 1
    command = index.calls[0]
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--require-hashes", "--no-deps", "--only-binary"} <= set(command)
    assert not list(cache.parent.rglob("escaped.txt"))


def test_an_sdist_from_the_index(serve):
    archive = tarball()
    index = serve(asset(archive, form="sdist", prefix="toy-1.0/"), index=Index(archive, "toy-1.0.tar.gz"))
    assert content(obtain("toy")) == FILES
    assert "--no-binary" in index.calls[0]


def test_an_archive_in_an_archive(serve):
    inner = tarball(prefix="data/")
    archive = tarball({"resources.tar.gz": inner})
    serve(asset(archive, form="sdist", prefix="toy-1.0/resources.tar.gz!data/"), archive)
    assert content(obtain("toy")) == FILES


def test_another_hash_is_refused(serve, cache):
    serve(asset(wheel()), wheel(FILES | {"more": b"evil"}))
    with pytest.raises(AssetError, match="'toy' cannot be obtained") as caught:
        obtain("toy")
    assert "package index: ERROR: THESE PACKAGES DO NOT MATCH" in caught.value.why
    assert not finished(cache)


@pytest.mark.parametrize("pack", [wheel, tarball])
def test_a_member_with_another_hash_is_refused(serve, cache, pack):
    archive = pack(FILES | {"config.json": b"{}"})
    serve(asset(archive, prefix="toy/" if pack is wheel else "toy-1.0/"), archive)
    with pytest.raises(AssetError, match=r"config\.json fails its checksum"):
        obtain("toy")
    assert not finished(cache)


@pytest.mark.parametrize("pack", [wheel, tarball])
def test_links_are_refused(serve, cache, pack):
    archive = pack(links=("config.json",))
    serve(asset(archive, prefix="toy/" if pack is wheel else "toy-1.0/"), archive)
    with pytest.raises(AssetError, match="is no regular file"):
        obtain("toy")
    assert not finished(cache)


@pytest.mark.parametrize("archive", [
    pytest.param(b"", id="empty"),
    pytest.param(b"PK\x05\x06" + b"\0" * 18, id="zip without members"),
    pytest.param(b"not an archive", id="text"),
    pytest.param(tarball()[:200], id="tar cut short"),
    pytest.param(wheel()[:-30], id="zip cut short"),
    pytest.param(wheel()[:60] + b"\xff" * 40 + wheel()[100:], id="zip with garbage"),
    pytest.param(tarball({}), id="tar without the file"),
])
def test_archives_that_are_damaged_or_lack_the_file(serve, cache, archive):
    serve(asset(archive), archive)
    with pytest.raises(AssetError, match="cannot be obtained"):
        obtain("toy")
    assert not finished(cache)


@pytest.mark.parametrize(("index", "told"), [
    (lambda *a, **k: SimpleNamespace(returncode=1, stderr=""), "pip failed and said nothing"),
    (lambda *a, **k: SimpleNamespace(returncode=0, stderr=""), "pip left 0 files"),
    (lambda *a, **k: (_ for _ in ()).throw(subprocess.TimeoutExpired("pip", 1)), "timed out"),
    (lambda *a, **k: (_ for _ in ()).throw(FileNotFoundError("no python")), "no python")])
def test_pip_that_fails(serve, cache, index, told):
    serve(asset(wheel()), index=index)
    with pytest.raises(AssetError, match=told):
        obtain("toy")
    assert not finished(cache)


@pytest.mark.parametrize(("form", "command"), [
    ("wheel", "-m pip install --no-deps no-such-toy==1.0"), ("sdist", "--no-binary no-such-toy no-such-toy==1.0")])
def test_offline_the_error_names_the_command(serve, form, command):
    index = serve(asset(wheel(), form=form, hub="someone/toy"))
    with pytest.raises(AssetError, match="cannot be obtained") as caught:
        obtain("toy", offline=True)
    assert command in caught.value.fix and sys.executable in caught.value.fix
    assert not index.calls


# the hub ----------------------------------------------------------------------------------------------------------

class Hub:
    """A model hub with ``files``, of which ``lies`` come with other content than is published."""

    def __init__(self, files=FILES, lies=()):
        self.files, self.lies, self.asked = files, lies, {}

    def model_info(self, repository, **options):
        siblings = [SimpleNamespace(rfilename=name, **self._published(name, data)) for name, data in self.files.items()]
        return SimpleNamespace(sha="abc", siblings=siblings)

    def _published(self, name, data):
        if name.endswith(".safetensors"):
            return {"lfs": SimpleNamespace(sha256=sha256(data)), "blob_id": "x"}
        return {"lfs": None, "blob_id": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()}

    def snapshot_download(self, repository, *, local_dir, **options):
        self.asked = options | {"repository": repository}
        for name, data in self.files.items():
            path = Path(local_dir) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data + b"!" if name in self.lies else data)
        (Path(local_dir) / ".cache").mkdir()


FLAT = {"config.json": b"{}", "model.safetensors": b"all of it"}


@pytest.fixture
def online(monkeypatch):
    def do(hub):
        import huggingface_hub

        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
        return hub

    return do


def test_from_the_hub(serve, online):
    hub, index = online(Hub(FLAT)), serve(asset(wheel(), hub="someone/toy"))
    folder = obtain("toy")
    assert {name: (folder / name).read_bytes() for name in FLAT} == FLAT and not (folder / ".cache").exists()
    assert hub.asked["repository"] == "someone/toy" and hub.asked["revision"] == "abc" and not index.calls
    assert not any(pattern.endswith((".bin", ".py", ".pt")) for pattern in hub.asked["allow_patterns"])


@pytest.mark.parametrize("hub", [Hub(FLAT, lies=("config.json",)), Hub(FLAT, lies=("model.safetensors",)),
                                 Hub({"config.json": b"{}"})])
def test_a_hub_that_gives_something_else_is_passed_over(serve, online, hub):
    online(hub)
    index = serve(asset(wheel(), hub="someone/toy"), wheel())
    folder = obtain("toy")
    assert content(folder) == FILES and len(index.calls) == 1
    assert not (folder / "model.safetensors").exists()  # nothing of the first attempt is left


def test_a_hub_that_fails_is_passed_over(serve, online, monkeypatch):
    hub = online(Hub(FLAT))
    monkeypatch.setattr(hub, "model_info", lambda *a, **k: (_ for _ in ()).throw(ConnectionError("no route\nto host")))
    index = serve(asset(wheel(), hub="someone/toy"), wheel())
    assert content(obtain("toy")) == FILES and len(index.calls) == 1


def test_no_source_at_all_tells_of_each(serve, online, monkeypatch):
    hub = online(Hub(FLAT))
    monkeypatch.setattr(hub, "model_info", lambda *a, **k: (_ for _ in ()).throw(ConnectionError("no route\nto host")))
    serve(asset(wheel(), hub="someone/toy"), b"other")
    with pytest.raises(AssetError) as caught:
        obtain("toy")
    told = [part.split(":")[0] for part in caught.value.why.split("; ")]
    assert told == ["installed package", "hub", "package index"]


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("true", True), (" yes ", True), ("0", False),
                                               ("", False)])
def test_when_the_hub_is_forbidden(monkeypatch, value, offline):
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert assets.offline_hub() is offline


# the cache --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("damage", [
    lambda f: (f / "config.json").write_bytes(b'{"model_type": "toi"}'), lambda f: (f / "config.json").unlink(),
    lambda f: (f / "asset.json").write_text("{"), lambda f: (f / "asset.json").write_text("[]"),
    lambda f: (f / "asset.json").write_text('{"files": []}'), lambda f: (f / "asset.json").unlink()])
def test_a_damaged_cache_is_filled_again(serve, damage):
    index = serve(asset(wheel()), wheel())
    folder = obtain("toy")
    damage(folder)
    assert content(obtain("toy")) == FILES and len(index.calls) == 2
    assert obtain("toy") == folder and len(index.calls) == 2


def test_after_a_failure_the_next_attempt_is_whole(serve, cache):
    serve(asset(wheel()), b"other")
    with pytest.raises(AssetError):
        obtain("toy")
    serve(asset(wheel()), wheel())
    assert content(obtain("toy")) == FILES and len(finished(cache)) == 1


def test_an_interrupted_fill_leaves_nothing_that_counts(serve, cache, monkeypatch):
    known = asset(wheel())
    serve(known, wheel())
    with monkeypatch.context() as patch:
        patch.setattr(assets, "atomic_write", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            obtain("toy")
    assert not finished(cache)
    partial = next(path for path in cache.glob("asset-*.partial") if path.is_dir())
    (partial / "left-over").write_text("from the attempt before")
    assert sorted(path.name for path in obtain("toy").iterdir()) == ["asset.json", "config.json", "step.json", "sub"]


def test_who_asks_at_once_shares_one_download(serve):
    ready, archive = threading.Event(), wheel()

    class Slow(Index):
        def __call__(self, command, **options):
            ready.set()
            threading.Event().wait(0.3)
            return super().__call__(command, **options)

    index = serve(asset(archive), index=Slow(archive))
    found = []
    askers = [threading.Thread(target=lambda: found.append(obtain("toy"))) for _ in range(3)]
    for asker in askers:
        asker.start()
        ready.wait(5)
    for asker in askers:
        asker.join()
    assert len(found) == 3 and len(set(found)) == 1 and len(index.calls) == 1


PROCESS = """
import subprocess, sys, time
from pathlib import Path
from types import SimpleNamespace
sys.path.insert(0, {here!r})
import test_assets as t
from scrimp.core import assets
archive = t.wheel()
known, index = t.asset(archive), t.Index(archive)
def slow(command, **options):
    with open({log!r}, "a") as log:
        log.write("downloaded\\n")
    time.sleep(0.5)
    return index(command, **options)
assets.known = lambda: [known]
subprocess.run = slow
print(assets.obtain("toy"))
"""


def test_two_processes_share_one_download(tmp_path):
    log = tmp_path / "log"
    program = PROCESS.format(here=str(Path(__file__).parent), log=str(log))
    askers = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    found = {asker.communicate(timeout=60)[0] for asker in askers}
    assert [asker.returncode for asker in askers] == [0, 0]
    assert len(found) == 1 and log.read_text() == "downloaded\n"
    assert content(Path(found.pop().strip())) == FILES


def test_the_digest_of_a_file_that_is_not_there(tmp_path):
    from scrimp.core.errors import WorkspaceError

    with pytest.raises(WorkspaceError, match="cannot be read"):
        assets.digest(tmp_path / "none")
