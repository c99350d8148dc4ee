"""Generated images: stored under unguessable names, served as images only, and deleted in time."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.config.settings import Config
from llm.errors import Malformed
from llm.storage.images import ImageStore
from tests.support.harness import Client, make_config, run_server

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100
IMAGES = {
    "png": (PNG, "image/png"),
    "jpg": (b"\xff\xd8\xff\xe0" + b"\0" * 100, "image/jpeg"),
    "webp": (b"RIFF\x10\0\0\0WEBPVP8 " + b"\0" * 100, "image/webp"),
    "gif": (b"GIF89a" + b"\0" * 100, "image/gif"),
}
DAY = 86400.0


class Clock:
    """A clock that only the test moves. It starts at the real time, which files get."""

    def __init__(self, folder: Path) -> None:
        self.now = folder.stat().st_mtime

    def __call__(self) -> float:
        return self.now


def store(folder: Path, max_age: float = 30 * DAY, max_bytes: int = 1 << 20, clock: Clock | None = None) -> ImageStore:
    return ImageStore(folder, max_age, max_bytes, clock or Clock(folder))


def read(images: ImageStore, name: str) -> bytes | None:
    image = images.open(name)
    if image is None:
        return None
    with image.file as file:
        return file.read()


def images_in(data_dir: Path, **environ: str) -> Config:
    return make_config(DATA_DIR=str(data_dir), **environ)


@pytest.mark.parametrize("ending", IMAGES)
def test_an_image_gets_its_type_from_its_bytes(tmp_path: Path, ending: str) -> None:
    data, content_type = IMAGES[ending]
    images = store(tmp_path)
    name = images.save(data)
    image = images.open(name)
    assert image is not None
    with image.file as file:
        assert (file.read(), image.content_type, image.size) == (data, content_type, len(data))
    assert name.endswith(f".{ending}")


@pytest.mark.parametrize(
    "data",
    [b"", b"<svg onload='alert(1)'/>", b"<html>", b"\x89PNG", b"RIFF\0\0\0\0WAVE", b"%PDF-1.7", b"BM" + b"\0" * 90],
)
def test_only_images_are_stored(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(Malformed):
        store(tmp_path).save(data)
    assert not [*tmp_path.iterdir()]


def test_names_are_unguessable_and_unique(tmp_path: Path) -> None:
    images = store(tmp_path)
    names = {images.save(PNG) for _ in range(50)}
    assert len(names) == 50
    assert all(len(name.partition(".")[0]) * 4 >= 128 for name in names)
    assert len({name[:4] for name in names}) > 40  # names do not begin with a counter or a time


def test_only_the_server_s_user_can_read_files_and_no_partial_file_remains(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "images"
    name = ImageStore(folder, DAY, 1 << 20).save(PNG)
    assert [path.name for path in folder.iterdir()] == [name]
    assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_the_folder_is_created_with_the_first_image(tmp_path: Path) -> None:
    images = ImageStore(tmp_path / "images", DAY, 1 << 20)
    images.prune()
    assert images.open(f"{'0' * 40}.png") is None
    assert not (tmp_path / "images").exists()


def test_old_images_are_not_opened_and_are_pruned(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    images = store(tmp_path, max_age=DAY, clock=clock)
    old = images.save(PNG)
    os.utime(tmp_path / old, (clock.now - DAY + 10,) * 2)
    assert read(images, old) == PNG
    clock.now += 20
    assert read(images, old) is None
    images.prune()
    assert not (tmp_path / old).exists()


def test_the_oldest_are_deleted_beyond_the_total_size(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    images = store(tmp_path, max_bytes=3 * len(PNG), clock=clock)
    names = []
    for age in (4, 3, 2, 1):
        names.append(images.save(PNG))
        os.utime(tmp_path / names[-1], (clock.now - age,) * 2)
    newest = images.save(PNG)
    assert [name for name in names if (tmp_path / name).exists()] == names[2:]
    assert read(images, newest) == PNG


def test_a_new_image_is_never_deleted_by_its_own_save(tmp_path: Path) -> None:
    """Even if its time is the oldest one, as after the clock was set back."""
    images = store(tmp_path, max_bytes=2 * len(PNG))
    for name in (images.save(PNG), images.save(PNG)):
        os.utime(tmp_path / name, (2e9,) * 2)
    assert read(images, images.save(PNG)) == PNG


def test_an_image_larger_than_the_total_size_is_refused(tmp_path: Path) -> None:
    images = store(tmp_path, max_bytes=2 * len(PNG))
    stored = images.save(PNG)
    with pytest.raises(Malformed, match="bytes"):
        images.save(PNG * 3)
    assert read(images, stored) == PNG


def test_pruning_leaves_other_files(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    images = store(tmp_path, max_age=DAY, clock=clock)
    for name in ("notes.txt", "photo.png", f"{'a' * 40}.svg"):
        (tmp_path / name).write_bytes(PNG)
    partial = tmp_path / f"{'b' * 40}.part"
    partial.write_bytes(PNG)
    images.prune()
    assert partial.exists()  # a process may still be writing it
    clock.now += 2 * DAY
    images.prune()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(("notes.txt", "photo.png", f"{'a' * 40}.svg"))


def test_links_are_not_followed_for_reading_or_deleting(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(PNG)
    folder = tmp_path / "images"
    folder.mkdir()
    name = f"{'c' * 40}.png"
    (folder / name).symlink_to(secret)
    clock = Clock(folder)
    images = store(folder, max_age=DAY, clock=clock)
    assert images.open(name) is None
    clock.now += 2 * DAY
    images.prune()
    assert secret.exists()


def test_a_pipe_or_a_folder_is_not_opened_as_an_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"{'d' * 40}.png")
    (tmp_path / f"{'e' * 40}.png").mkdir()
    images = store(tmp_path)
    assert images.open(f"{'d' * 40}.png") is None
    assert images.open(f"{'e' * 40}.png") is None
    images.prune()


@given(st.text(max_size=60))
def test_no_other_name_opens_anything(name: str) -> None:
    assert ImageStore(Path("/"), DAY, 1 << 20).open(name) is None


async def test_an_image_is_served_as_an_image_to_anyone(tmp_path: Path) -> None:
    async with run_server(images_in(tmp_path)) as server:
        for data, content_type in IMAGES.values():
            answer = await server.get(f"/images/{server.server.context.images.save(data)}", {})
            assert (answer.status, await answer.body()) == (200, data)
            assert answer.headers["Content-Type"] == content_type
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "sandbox" in answer.headers["Content-Security-Policy"]
            assert "immutable" in answer.headers["Cache-Control"]


async def test_any_other_path_is_404(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(PNG)
    (folder / "photo.png").write_bytes(PNG)
    (folder / f"{'c' * 40}.png").symlink_to(tmp_path / "secret.png")
    async with run_server(images_in(tmp_path)) as server:
        name = server.server.context.images.save(PNG)
        for path in (
            "/images/",
            "/images/..",
            "/images/../secret.png",
            "/images/..%2fsecret.png",
            "/images/%2e%2e%2fsecret.png",
            "/images/..%5csecret.png",
            "/images//etc/passwd",
            "/images/%2fetc%2fpasswd",
            "/images/photo.png",
            f"/images/{'c' * 40}.png",
            f"/images/{'0' * 40}.png",
            f"/images/{name}/",
            f"/images/{name}%00",
            f"/images/{name}%0a",
            f"/images/{name.upper()}",
            f"/images/{name.replace('.png', '.svg')}",
            f"/images/{name.partition('.')[0]}",
        ):
            answer = await server.get(path, {})
            assert answer.status == 404, path
            assert (await answer.json())["code"] == "not_found"
            assert "immutable" not in answer.headers["Cache-Control"]
        for method in ("POST", "PUT", "DELETE"):
            assert (await server.request(method, f"/images/{name}", headers={})).status == 405
        assert (folder / name).exists()


async def test_a_large_image_is_sent_whole_and_a_client_may_leave(tmp_path: Path) -> None:
    data = PNG + os.urandom(24 << 20)
    async with run_server(images_in(tmp_path)) as server:
        path = f"/images/{server.server.context.images.save(data)}"
        leaving = await server.send("GET", path, limit=65536)
        await leaving.head()
        leaving.close()
        answer = await server.get(path, {})
        assert await answer.body() == data
        await no_open_files(server, tmp_path)


async def no_open_files(server: Client, folder: Path) -> None:
    async with asyncio.timeout(5):
        while any(str(folder) in os.readlink(f"/proc/self/fd/{fd}") for fd in handles()):
            await asyncio.sleep(0.01)


def handles() -> list[str]:
    """Returns the file descriptors that are still open."""
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")]


async def test_old_images_are_deleted_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    old = tmp_path / "images" / f"{'f' * 40}.png"
    old.write_bytes(PNG)
    os.utime(old, (1.0, 1.0))
    async with run_server(images_in(tmp_path, IMAGE_MAX_AGE="12h")):
        assert not old.exists()


async def test_o2_a_folder_that_cannot_be_read_does_not_stop_the_server(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("not a folder")
    async with run_server(images_in(tmp_path)) as server:
        assert (await server.get("/health")).status == 200
        assert (await server.get(f"/images/{'0' * 40}.png")).status == 404


async def test_images_may_be_saved_from_many_threads_at_once(tmp_path: Path) -> None:
    images = store(tmp_path, max_bytes=5 * len(PNG))
    await asyncio.gather(*(asyncio.to_thread(images.save, PNG) for _ in range(40)))
    images.prune()
    assert len([*tmp_path.iterdir()]) == 5
