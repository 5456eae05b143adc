"""Images behind addresses: a server that sends them, refuses them, breaks down and stops."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from slide_files import halves, noise, write_pyramid, write_zarr

from napari_accr.cli import main
from napari_accr.errors import ImageFileError
from napari_accr.image import Grid, Image
from napari_accr.io.images import open_image, read_image, write_image
from napari_accr.io.transforms import save_transform
from napari_accr.transforms import Affine

pytest.importorskip("aiohttp")


class Server:
    """Sends the files of a folder, or an error in place of each."""

    def __init__(self, folder: Path) -> None:
        self.status = 200
        server = self

        class Handler(SimpleHTTPRequestHandler):
            def send_head(self) -> object:  # type: ignore[override]
                if server.status == 200:
                    return super().send_head()
                self.send_error(server.status)
                return None

            def log_message(self, *words: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.thread = Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    found = Server(tmp_path)
    yield found
    found.stop()


@pytest.fixture
def slides(tmp_path: Path) -> np.ndarray:
    levels = halves(noise(2, 100, 90), 2)
    write_zarr(tmp_path / "a.ome.zarr", levels, chunks=(1, 32, 32))
    write_pyramid(tmp_path / "a.ome.tif", levels, tile=(32, 32), photometric="minisblack")
    return levels[0]


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ome.tif"])
def test_what_a_server_sends_is_read(server: Server, slides: np.ndarray, name: str) -> None:
    axes = "CYX" if name.endswith("tif") else None
    image = read_image(f"{server.address}/{name}", axes=axes)
    np.testing.assert_array_equal(image.data, slides)


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ome.tif"])
@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_a_server_that_refuses_is_named(
    server: Server, slides: np.ndarray, name: str, status: int
) -> None:
    server.status = status
    reason = str(status) if status != 404 else name
    with pytest.raises(ImageFileError, match=rf"cannot be reached \(.*{reason}.*\); check"):
        open_image(f"{server.address}/{name}")


def test_a_connection_that_breaks_is_no_damage(server: Server, slides: np.ndarray) -> None:
    data = open_image(f"{server.address}/a.ome.zarr", modality="other").data
    seen: list[str] = []
    filled = data.tolerant(seen=seen.append)
    server.status = 503
    with pytest.raises(ImageFileError, match="cannot be reached"):
        filled[...]
    assert not seen
    server.status = 200
    np.testing.assert_array_equal(filled[...], slides)


def test_commands_take_addresses(server: Server, tmp_path: Path) -> None:
    image = Image(noise(1, 60, 50), Grid((60, 50)))
    write_image(tmp_path / "image.ome.tif", image)
    save_transform(tmp_path / "t.json", Affine.identity(2), unit=None)
    address, output = f"{server.address}/image.ome.tif", tmp_path / "out.ome.tif"
    words = ["warp", address, str(tmp_path / "t.json"), "--like", address, "-o", str(output)]
    assert main(words) == 0
    np.testing.assert_array_equal(read_image(output).data, image.data)


def test_commands_name_what_cannot_be_reached(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.status = 403
    one, other = f"{server.address}/a.ome.tif", f"{server.address}/b.ome.tif"
    assert main(["register", one, other, "-o", str(tmp_path / "out.ome.tif")]) == 2
    assert f"{one} cannot be reached" in capsys.readouterr().err


def test_a_transform_is_converted_for_images_behind_addresses(
    server: Server, slides: np.ndarray, tmp_path: Path
) -> None:
    save_transform(tmp_path / "t.json", Affine.identity(2), unit=None)
    output = tmp_path / "t.qupath.json"
    images = [f"{server.address}/{name}" for name in ("a.ome.zarr", "a.ome.tif")]
    words = ["transform", str(tmp_path / "t.json"), "-o", str(output)]
    assert main([*words, "--fixed", images[0], "--moving", images[1]]) == 0
    assert output.exists()


def test_a_mask_that_cannot_be_reached_is_named(
    server: Server, slides: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, mask = str(tmp_path / "a.ome.tif"), f"{server.address}/no_mask.tif"
    words = ["register", image, image, "-o", str(tmp_path / "out.ome.tif"), "--fixed-mask", mask]
    assert main(words) == 2
    assert f"{mask} cannot be reached" in capsys.readouterr().err
