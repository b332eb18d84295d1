"""A file is the old one or the new one, whatever happens; what is not a regular file is not touched."""

import ast
import errno
import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import construct
from construct import storage
from construct.errors import InputError
from construct.storage import read_whole, writable_place, write_atomically
from tests.transformer.networks import random_network

ROOT = Path(__file__).resolve().parents[1]


def temporaries(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(storage.ENDING))


@pytest.fixture
def umask():
    old = os.umask(0o027)
    yield
    os.umask(old)


def test_permissions_are_those_of_the_umask_or_of_the_file_that_was_there(umask, tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o604)
    write_atomically(path, b"two")
    assert (stat.S_IMODE(path.stat().st_mode), path.read_bytes()) == (0o604, b"two")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("path", [None, 5, b"bytes", "", "a\0b", ["a"], 1.5, "\ud800"])
def test_what_is_no_path_is_refused(path):
    for call in (lambda: write_atomically(path, b""), lambda: read_whole(path, most=10), lambda: writable_place(path)):
        with pytest.raises(InputError, match=r"^path: expected a path"):
            call()


def test_what_is_not_a_regular_file_is_not_written_over(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for path, word in (
        (tmp_path / "pipe", "a pipe"),
        (tmp_path / "folder", "a folder"),
        (f"{tmp_path}/new/", "a folder"),
        (tmp_path / "nowhere" / "file", "there is no folder"),
        (tmp_path / "pipe" / "file", "Not a directory"),
        ("/dev/null", "a device"),
    ):
        with pytest.raises(InputError, match=rf"^out: expected a .*{word}"):
            write_atomically(path, b"data", "out")
    with pytest.raises(InputError, match=r"^path: expected a file, got"):
        write_atomically(tmp_path / ("x" * 300), b"data")
    assert sorted(os.listdir(tmp_path)) == ["folder", "pipe"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_link_is_followed(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there/file")
    (tmp_path / "round").symlink_to("round")
    for data in (b"one", b"two"):
        write_atomically(tmp_path / "link", data)
        assert (tmp_path / "link").is_symlink() and (tmp_path / "there" / "file").read_bytes() == data
    with pytest.raises(InputError, match=r"^path: expected a"):
        write_atomically(tmp_path / "round", b"one")
    assert (tmp_path / "round").is_symlink() and temporaries(tmp_path / "there") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_what_may_not_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch(mode=0o444)
    with pytest.raises(InputError, match=r"^path: expected a file that can be written, got"):
        write_atomically(tmp_path / "file", b"one")
    tmp_path.chmod(0o555)
    with pytest.raises(InputError, match=r"^path: expected a file that can be written, got"):
        write_atomically(tmp_path / "other", b"one")


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.ENOSPC, "no space left on device")])
def test_an_interrupt_or_a_full_disk_leaves_the_old_file_and_nothing_else(failing, error, tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fails(*args):
        raise error

    monkeypatch.setattr(os, failing, fails)
    with pytest.raises(error if isinstance(error, type) else OSError):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_temporaries_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    path = tmp_path / "file"
    living, name = storage._new_temporary(str(path))
    dead = tmp_path / f".file.{os.getpid()}.00{storage.ENDING}"  # not locked: whoever made it is gone
    others = [
        tmp_path / f".other.1.00{storage.ENDING}",
        tmp_path / f".file.x.00{storage.ENDING}",
        tmp_path / f".file.more.1.00{storage.ENDING}",
        tmp_path / ".file.1.00",
    ]
    for left in (dead, *others):
        left.touch()
    write_atomically(path, b"new")
    os.close(living)
    assert not dead.exists() and Path(name).exists() and all(left.exists() for left in others)
    write_atomically(path, b"newer")
    assert not Path(name).exists() and path.read_bytes() == b"newer"


def test_names_that_are_long_have_temporaries_too(tmp_path):
    path = tmp_path / ("x" * 250)
    write_atomically(path, b"one")
    (tmp_path / f".{hashlib.sha256(path.name.encode()).hexdigest()}.1.00{storage.ENDING}").touch()
    write_atomically(path, b"two")
    assert os.listdir(tmp_path) == [path.name] and path.read_bytes() == b"two"


def test_reading(tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")
    assert read_whole(tmp_path / "file", most=10) == b"0123456789"
    os.mkfifo(tmp_path / "pipe")
    for path, most, text in (
        ("file", 9, "expected a file of at most 9 bytes, got .* of 10$"),
        ("missing", 9, "expected a file, got .*missing, which is not there$"),
        (".", 9, "expected a file, got .*, which is a folder$"),
        ("pipe", 9, "expected a file, got .*, which is a pipe$"),
        ("file/file", 9, "expected a file, got .*, which is not to be had"),
    ):
        with pytest.raises(InputError, match=f"^path: {text}"):
            read_whole(f"{tmp_path}/{path}", most=most)


# -- processes --------------------------------------------------------------------------------------------------------

SAVER = """
import os, random, signal, sys, time
import torch
from tests.transformer.networks import circle_network, random_network
torch.set_num_threads(1)
path, nets = sys.argv[1], [random_network(0, heads=500, ambient=2), circle_network()]
for net in nets:
    print(float(net.transformer(torch.full((1, 2), 0.5).double())), flush=True)
generator, start = random.Random(0), time.perf_counter()
for net in nets:
    net.save(path)
both = time.perf_counter() - start
while True:
    child = os.fork()
    if child == 0:
        while True:
            for net in nets:
                net.save(path)
    time.sleep(generator.uniform(0.0, 2 * both))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("killed", flush=True)
    if not sys.stdin.readline():
        break
"""


def saver(path):
    """A process in which the imports are done once: it forks a child that saves without end, and kills it."""
    return subprocess.Popen(
        [sys.executable, "-c", SAVER, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def value_in(path):
    return float(construct.load(path).transformer(torch.full((1, 2), 0.5).double()))


def test_a_process_that_is_killed_a_hundred_times_while_it_saves_leaves_a_whole_network(tmp_path):
    path, hit = tmp_path / "net.safetensors", 0
    with saver(path) as process:
        assert process.stdin is not None and process.stdout is not None
        wanted = {float(process.stdout.readline()) for _ in range(2)}
        random_network(0, ambient=2).save(path)
        wanted.add(value_in(path))
        found = set()
        for _ in range(100):
            assert process.stdout.readline() == "killed\n"
            found.add(value_in(path))
            hit += bool(temporaries(tmp_path))
            process.stdin.write("again\n")
            process.stdin.flush()
        process.stdin.close()
    assert found <= wanted and len(found) >= 2
    assert hit > 0  # it was killed in the middle, too
    random_network(0, ambient=2).save(path)
    assert os.listdir(tmp_path) == [path.name]


READER = """
import sys, torch
import construct
print("ready", flush=True)
value = lambda: float(construct.load(sys.argv[1]).transformer(torch.full((1, 2), 0.5).double()))
print(sorted({value() for _ in range(int(sys.argv[2]))}), flush=True)
"""


def test_what_is_read_while_others_save_is_one_of_the_networks(tmp_path):
    """Two processes save different networks without end; 400 loads find one or the other, and nothing else."""
    path = tmp_path / "net.safetensors"
    nets = [random_network(seed, heads=200 * (seed + 1), ambient=2) for seed in (0, 1)]
    wanted = []
    for net in nets:
        net.save(path)
        wanted.append(value_in(path))
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(path), "400"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None and reader.stdout.readline() == "ready\n"
        saved = 0
        while reader.poll() is None:
            nets[saved % 2].save(path)
            saved += 1
        found = ast.literal_eval(reader.stdout.read())
    assert reader.returncode == 0 and sorted(wanted) == found and saved > 20
    assert os.listdir(tmp_path) == [path.name]
