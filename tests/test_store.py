from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from conftest import full_disk

from harness.artifact import Artifact
from harness.errors import ExitCode, HarnessError
from harness.store import Store, default_store
from harness.training.checkpoints import remove_finished

NUMBERS = np.arange(1000.0)


def put(store: Store, key: str = "key", *, kind: str = "kind", value: float = 0) -> Artifact:
    return store.put(kind, key, arrays={"numbers": NUMBERS + value}, meta={"value": value})


def leftovers(store: Store) -> list[Path]:
    """Return what lies in the store and belongs to no artifact."""
    return list((store.root / "staging").glob("*"))


def test_what_was_put_is_found_again(store: Store):
    assert store.get("kind", "key") is None
    put(store, value=3)
    found = store.get("kind", "key")
    assert found is not None
    assert found.array("numbers").tolist() == (NUMBERS + 3).tolist()
    assert found.meta["value"] == 3


def test_arrays_are_mapped_read_only(store: Store):
    array = put(store).array("numbers")
    assert isinstance(array, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_artifacts_are_listed_in_the_order_of_their_keys(store: Store):
    assert store.list("kind") == []
    for key in ("b", "c", "a"):
        put(store, key)
    put(store, "d", kind="other")
    assert [artifact.path.name for artifact in store.list("kind")] == ["a", "b", "c"]


def test_what_the_block_adds_to_the_metadata_is_stored(store: Store):
    meta: dict[str, int] = {}
    with store.writing("kind", "key", meta=meta) as folder:
        (folder / "below").mkdir()
        (folder / "below" / "text").write_text("hello")
        meta["seconds"] = 3
    found = store.get("kind", "key")
    assert found is not None
    assert found.meta == {"seconds": 3, "files": {"below/text": 5}}


def _write_half(store: Store) -> None:
    with store.writing("kind", "key", meta={}) as folder:
        (folder / "half").write_text("half")
        raise ZeroDivisionError


def test_a_block_that_fails_leaves_nothing(store: Store):
    with pytest.raises(ZeroDivisionError):
        _write_half(store)
    assert store.get("kind", "key") is None
    assert not (store.root / "kind").exists()
    assert leftovers(store) == []


@pytest.mark.parametrize("kind", ["kind", "kind/nested"])
@pytest.mark.parametrize("damage", ["cut", "grown", "lost"])
def test_a_file_of_another_size_makes_an_artifact_absent_and_the_next_write_replaces_it(
    store: Store, kind: str, damage: str
):
    path = put(store, kind=kind).path / "numbers.npy"
    body = path.read_bytes()
    if damage == "lost":
        path.unlink()
    else:
        path.write_bytes(body[:-1] if damage == "cut" else body + b"x")
    assert store.get(kind, "key") is None
    assert store.list(kind) == []
    assert put(store, kind=kind, value=7).array("numbers")[0] == 7


@pytest.mark.parametrize(
    "meta", ["", "{", "[]", "null", "3", "{}", '{"files": 3}', '{"files": ["a"]}', "\x00" * 50]
)
def test_metadata_that_makes_no_sense_makes_an_artifact_absent(store: Store, meta: str):
    (put(store).path / "meta.json").write_text(meta)
    assert store.get("kind", "key") is None
    assert put(store, value=7).array("numbers")[0] == 7


@pytest.mark.parametrize("kind", ["kind", "kind/nested"])
def test_the_first_writer_wins_and_its_files_are_never_touched_again(store: Store, kind: str):
    first = put(store, kind=kind, value=1)
    before = (first.path / "numbers.npy").stat()
    again = put(store, kind=kind, value=2)
    after = (first.path / "numbers.npy").stat()
    assert again.array("numbers")[0] == 1
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert leftovers(store) == []


@pytest.mark.parametrize("damaged", [False, True])
def test_many_writers_of_one_artifact_do_each_other_no_harm(store: Store, *, damaged: bool):
    failures: list[HarnessError] = []

    def write(barrier: threading.Barrier, key: str) -> None:
        barrier.wait()
        try:
            put(store, key)
        except HarnessError as error:
            failures.append(error)

    for round_number in range(20):
        key = f"key{round_number}"
        if damaged:
            (put(store, key).path / "numbers.npy").unlink()
        barrier = threading.Barrier(8)
        writers = [threading.Thread(target=write, args=(barrier, key)) for _ in range(8)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert store.get("kind", key) is not None
    assert failures == []
    assert leftovers(store) == []


WRITER = """
import sys
from pathlib import Path
import numpy as np
from harness.store import Store

store = Store(Path(sys.argv[1]))
for number in range(int(sys.argv[2]), 1_000_000):
    arrays = {name: np.full(20_000, number) for name in "abc"}
    store.put("kind/nested", f"{number:07}", arrays=arrays, meta={"number": number})
    print(number, flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_whole_artifacts_only(store: Store):
    moments = random.Random(3)
    written = -1
    for _ in range(4):
        command = [sys.executable, "-c", WRITER, str(store.root), str(written + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(moments.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
            process.wait()
        found = store.list("kind/nested")
        assert len(found) > written + 1
        written = len(found) - 1
        for number, artifact in enumerate(found):
            assert artifact.meta["number"] == number
            assert all((artifact.array(name) == number).all() for name in "abc")
        visible = sorted(path.name for path in (store.root / "kind" / "nested").iterdir())
        assert visible == [f"{number:07}" for number in range(written + 1)]


def test_an_artifact_that_is_replaced_again_and_again_is_never_absent(store: Store):
    put(store, value=-1)

    def replace(writer: int) -> None:
        for number in range(15):
            value = 100 * writer + number
            arrays = {"numbers": NUMBERS + value}
            stored = store.put("kind", "key", arrays=arrays, meta={"value": value}, replaces=True)
            assert stored.meta["value"] >= 0

    with ThreadPoolExecutor(3) as threads:
        writers = [threads.submit(replace, writer) for writer in range(3)]
        reads = 0
        while not all(writer.done() for writer in writers):
            assert store.get("kind", "key") is not None or sys.platform != "linux"
            reads += 1
        for writer in writers:
            writer.result()
    assert reads > 10
    assert leftovers(store) == []


@pytest.mark.parametrize("where", ["below a file", "/proc", "/sys"])
def test_a_store_that_can_not_be_written_is_one_error(tmp_path: Path, where: str):
    (tmp_path / "file").write_text("")
    root = Path(where) / "harness-store" if where[0] == "/" else tmp_path / "file" / "store"
    for write in (lambda: put(Store(root)), Store(root).check_writable):
        with pytest.raises(HarnessError, match=r"cannot write, got .*--store") as caught:
            write()
        assert caught.value.exit_code is ExitCode.STAGE
        assert len(caught.value.problems) == 1
    assert Store(root).get("kind", "key") is None
    assert Store(root).list("kind") == []


def test_a_disk_that_fills_up_is_one_error_and_leaves_nothing(store: Store):
    put(store, "before")
    with full_disk(after_bytes=3000), pytest.raises(HarnessError, match="cannot write") as caught:
        put(store, "after")
    assert caught.value.exit_code is ExitCode.STAGE
    assert [artifact.path.name for artifact in store.list("kind")] == ["before"]
    assert not (store.root / "kind" / "after").exists()
    assert leftovers(store) == []


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of its own of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not mount a tmpfs; a limit on file sizes stands for it")
    yield folder
    subprocess.run([shutil.which("umount") or "umount", str(folder)], check=True)


def _fill(store: Store) -> None:
    for number in range(100):
        put(store, f"{number:03}")


def test_a_full_file_system_is_one_error_and_what_was_stored_stays(tiny_disk: Path):
    store = Store(tiny_disk / "store")
    with pytest.raises(HarnessError, match="cannot write") as caught:
        _fill(store)
    assert caught.value.exit_code is ExitCode.STAGE
    visible = list((store.root / "kind").iterdir())
    assert 0 < len(store.list("kind")) == len(visible) < 10
    assert leftovers(store) == []
    with suppress(OSError):
        (store.root / "rest").write_bytes(b"x" * 60_000)
    with pytest.raises(HarnessError, match="cannot write"):
        store.check_writable()


def test_a_problem_of_other_files_is_not_blamed_on_the_store(store: Store, tmp_path: Path):
    with pytest.raises(FileNotFoundError), store.writing("kind", "key", meta={}):
        (tmp_path / "absent").read_text()
    assert leftovers(store) == []


def test_a_check_of_the_store_leaves_nothing_behind(store: Store):
    store.check_writable()
    assert leftovers(store) == []


def test_the_store_is_named_by_the_environment_or_lies_here(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HARNESS_STORE", "/somewhere")
    assert default_store() == Path("/somewhere")
    monkeypatch.setenv("HARNESS_STORE", "")
    assert default_store() == Path(".harness")


HOLDER = """
import sys, time
from pathlib import Path
from harness.store import Store

with Store(Path(sys.argv[1])).writing("kind", "key", meta={}) as folder:
    (folder / "half").write_text("half")
    print("holds", flush=True)
    time.sleep(600)
"""


def test_a_lease_that_a_kill_left_is_removed_and_one_that_is_held_is_not(tmp_path: Path):
    left = tmp_path / "staging" / f"running-{'0' * 32}"
    (left / "content").mkdir(parents=True)
    (left / "lock").touch()
    one, other = Store(tmp_path), Store(tmp_path)
    one.lease()
    assert not left.exists()
    other.lease()
    assert len([*(tmp_path / "staging").iterdir()]) == 2


def test_what_a_kill_left_half_written_is_removed_and_what_a_running_process_writes_is_not(
    store: Store,
):
    command = [sys.executable, "-c", HOLDER, str(store.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        [held] = leftovers(store)
        os.utime(held, (0, 0))  # however old: a stopped process goes on some day
        store.check_writable()
        assert leftovers(store) == [held]
        assert (held / "content" / "half").exists()
        process.kill()
        process.wait()
    assert leftovers(store) == [held]
    store.check_writable()
    assert leftovers(store) == []


def test_nothing_of_the_user_is_removed_from_a_folder_named_staging(tmp_path: Path) -> None:
    mine = ["mine", "training-2019", f"training-{'0' * 32}", "writing-letters", "0" * 32]
    for name in mine:
        folder = tmp_path / "staging" / name
        folder.mkdir(parents=True)
        (folder / "thesis.txt").write_text("years")
        os.utime(folder, (0, 0))
    store = Store(tmp_path)
    store.check_writable()
    remove_finished(store)
    assert sorted(path.name for path in leftovers(store)) == sorted(mine)


def flip(path: Path, place: int) -> None:
    body = bytearray(path.read_bytes())
    body[place] ^= 1 << 3
    path.write_bytes(body)


@pytest.mark.parametrize("place", [0, 20, 130, -1])
def test_a_flipped_bit_makes_an_artifact_absent_with_one_warning(
    store: Store, place: int, caplog: pytest.LogCaptureFixture
):
    flip(put(store).path / "numbers.npy", place)
    for _ in range(2):
        assert store.get("kind", "key") is None
    assert [record.getMessage() for record in caplog.records] == [
        f"store {store.root}: kind/key is damaged; it is made again."
    ]
    store.check_writable()
    assert not (store.root / "kind" / "key").exists()
    assert put(store, value=7).array("numbers")[0] == 7


def test_files_and_folders_of_another_key_are_not_taken_for_an_artifact(store: Store):
    first, second = (put(store, key, value=place).path for place, key in enumerate("ab"))
    shutil.copyfile(first / "numbers.npy", second / "numbers.npy")
    assert store.get("kind", "b") is None
    shutil.copyfile(first / "meta.json", second / "meta.json")
    assert store.get("kind", "b") is None
    assert store.get("kind", "a") is not None


def test_changed_metadata_makes_an_artifact_absent(store: Store):
    path = put(store, value=3).path / "meta.json"
    text = path.read_text()
    assert text.count("3") >= 1
    for said, damaged in (('"value": 3', '"value": 4'), ('"checksums"', '"checksumr"')):
        path.write_text(text.replace(said, damaged))
        assert store.get("kind", "key") is None
    for odd in (None, {}, [], "x"):
        path.write_text(json.dumps({**json.loads(text), "checksums": odd}))
        assert store.get("kind", "key") is None


def test_an_artifact_of_a_version_without_checksums_stays_and_a_broken_array_of_it_is_named(
    store: Store,
):
    path = put(store).path
    old = {"value": 0, "files": {"numbers.npy": (path / "numbers.npy").stat().st_size}}
    (path / "meta.json").write_text(json.dumps(old))
    found = store.get("kind", "key")
    assert found is not None
    assert found.meta == old
    flip(path / "numbers.npy", 20)
    with pytest.raises(HarnessError, match=r"numbers\.npy: not readable .*Remove the folder"):
        found.array("numbers")


def test_a_file_is_read_once_a_process(store: Store, monkeypatch: pytest.MonkeyPatch):
    put(store)
    read: list[Path] = []
    monkeypatch.setattr("harness.artifact.file_digest", lambda path: read.append(path) or "")
    assert store.get("kind", "key") is not None
    assert read == []


@pytest.mark.parametrize("left", [(), ("lock",), ("content",), ("lock", "content")])
def test_what_a_kill_left_at_any_moment_of_a_scratch_folder_is_removed(
    store: Store, left: tuple[str, ...]
) -> None:
    own = store.root / "staging" / f"writing-{'0' * 32}"
    own.mkdir(parents=True)
    for name in left:
        (own / name).touch() if name == "lock" else (own / name).mkdir()
    store.check_writable()
    assert own.exists() == (len(left) < 2)  # it may be one that is being made
    if own.exists():
        os.utime(own, (0, 0))
    store.check_writable()
    assert not own.exists()
