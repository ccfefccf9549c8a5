"""Models: nothing that could run, and nothing that could not be loaded, is ever registered."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
from pathlib import Path

import httpx
import pytest

from app.safetensors_header import tensor_sizes
from app.storage import ArtifactStore
from tests.integration.api.conftest import EXAMPLES
from tests.live_api import LiveApi

TAR = {"Content-Type": "application/x-tar"}
BASE_MODEL = EXAMPLES / "base_model"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A valid model that the test may spoil."""
    return Path(shutil.copytree(BASE_MODEL, tmp_path / "model"))


def tarred(directory: Path, *, around: str = "model") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(directory.iterdir()):
            archive.add(path, arcname=f"{around}/{path.name}" if around else path.name)
    return buffer.getvalue()


def upload(client: httpx.Client, content: bytes, *, name: str = "m", **headers: str) -> httpx.Response:
    return client.post("/v1/models:upload", params={"name": name}, content=content, headers={**TAR, **headers})


class TestRegister:
    def test_a_local_model_is_published_and_registered(self, api: LiveApi, client: httpx.Client) -> None:
        answer = client.post("/v1/models", json={"name": "m", "source": "local:base_model"})
        assert answer.status_code == 201, answer.text
        model = answer.json()
        assert (model["family"], model["architecture"], model["kind"]) == ("llama", "LlamaForCausalLM", "base")
        assert model["parameters"] == sum(tensor_sizes(BASE_MODEL / "model.safetensors").values())
        assert ArtifactStore(api.settings.artifacts_dir).verify(f"models/{model['digest']}").digest == model["digest"]
        assert client.get(answer.headers["Location"]).json() == model

    @pytest.mark.parametrize(
        "source",
        [
            "local:../base_model", "local:..", "local:.", "local:", "local:/etc", "local:base_model/..", "local:a/b",
            "local:..%2fbase_model", "local:base_model\u0085", "local:.hidden", "local:a\\b", "file:///etc", "hf:a/b",
            "/etc/passwd", "http://x/y", "LOCAL:base_model", "local:base_model\n",
        ],
    )  # fmt: skip
    def test_a_source_that_is_no_plain_name(self, client: httpx.Client, source: str) -> None:
        answer = client.post("/v1/models", json={"name": "m", "source": source})
        assert (answer.status_code, answer.json()["field"]) == (422, "source")

    @pytest.mark.parametrize("name", ["nothing", "README.md"])
    def test_a_name_that_the_operator_does_not_offer(self, client: httpx.Client, name: str) -> None:
        answer = client.post("/v1/models", json={"name": "m", "source": f"local:{name}"})
        assert (answer.status_code, answer.json()["code"]) == (422, "model_source_unknown")

    def test_no_path_of_the_server_is_told(self, api: LiveApi, client: httpx.Client) -> None:
        answer = client.post("/v1/models", json={"name": "m", "source": "local:nothing"})
        assert str(EXAMPLES) not in answer.text


class TestUpload:
    @pytest.mark.parametrize("around", ["model", ""])
    def test_a_tar_is_the_same_model(self, client: httpx.Client, around: str) -> None:
        local = client.post("/v1/models", json={"name": "local", "source": "local:base_model"}).json()
        answer = upload(client, tarred(BASE_MODEL, around=around))
        assert (answer.status_code, answer.json()["digest"]) == (201, local["digest"])

    def test_gzip(self, client: httpx.Client) -> None:
        content = gzip.compress(tarred(BASE_MODEL), 1)
        assert upload(client, content, **{"Content-Encoding": "gzip"}).status_code == 201

    def test_a_refused_one_leaves_nothing_behind(self, api: LiveApi, client: httpx.Client, directory: Path) -> None:
        published = set((api.settings.artifacts_dir / "models").glob("*"))
        (directory / "config.json").write_text('{"auto_map": {"AutoModel": "x.Y"}}')
        answer = upload(client, tarred(directory))
        assert (answer.status_code, answer.json()["field"]) == (422, "config.json")
        assert client.get("/v1/models").json()["data"] == []
        assert set((api.settings.artifacts_dir / "models").glob("*")) == published

    @pytest.mark.parametrize("content", [b"", b"not a tar", gzip.compress(b"x", mtime=0), tarred(BASE_MODEL)[:5000]])
    def test_what_is_no_archive(self, client: httpx.Client, content: bytes) -> None:
        answer = upload(client, content)
        assert (answer.status_code, answer.json()["code"]) == (422, "model_refused")

    def test_damaged_gzip(self, client: httpx.Client) -> None:
        content = gzip.compress(tarred(BASE_MODEL), 1)[:-1000]
        answer = upload(client, content, **{"Content-Encoding": "gzip"})
        assert (answer.status_code, answer.json()["code"]) == (422, "model_refused")

    def test_a_bomb(self, api: LiveApi, client: httpx.Client) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            member = tarfile.TarInfo("model.safetensors")
            member.size = api.settings.max_upload_bytes + 1
            archive.addfile(member, io.BytesIO(bytes(member.size)))
        answer = upload(client, gzip.compress(buffer.getvalue()), **{"Content-Encoding": "gzip"})
        assert (answer.status_code, answer.json()["code"]) == (422, "model_refused")
        assert "larger than" in answer.json()["detail"]
