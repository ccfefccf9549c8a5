"""Checkpoints: listed with their manifest, and read from any byte on, file by file or as one archive."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from app.db.models import CheckpointKind
from tests.integration.api.runs.produced import measure, publish
from tests.integration.api.runs.service import Client, Service

WEIGHTS = bytes(range(256)) * 9_000


@pytest.fixture
def run_id(client: Client) -> str:
    return str(client.run()["id"])


@pytest.fixture
def checkpoint(client: Client, run_id: str, service: Service, tmp_path: Path) -> dict[str, Any]:
    """A published policy of three files, one of them in a directory, one with a name too long for a plain header."""
    source = tmp_path / "policy"
    (source / "tokenizer").mkdir(parents=True)
    (source / "model.safetensors").write_bytes(WEIGHTS)
    (source / "tokenizer" / "tokenizer.json").write_text('{"version": "1.0"}')
    (source / ("long" * 40 + ".json")).write_bytes(b"")
    with service.sessions.begin() as session:
        id_ = publish(session, service.store, run_id, source, CheckpointKind.POLICY)
    return dict(client.get(f"/v1/checkpoints/{id_}"))


class TestCheckpoint:
    def test_has_manifest_and_lineage(self, checkpoint: dict[str, Any], run_id: str) -> None:
        assert (checkpoint["run_id"], checkpoint["kind"], checkpoint["step"]) == (run_id, "policy", 8)
        assert checkpoint["digest"] == checkpoint["manifest"]["digest"]
        files = {file["name"]: file for file in checkpoint["manifest"]["files"]}
        assert files["model.safetensors"]["sha256"] == hashlib.sha256(WEIGHTS).hexdigest()
        assert checkpoint["size_bytes"] == sum(file["size"] for file in files.values())

    def test_is_listed_by_run(self, client: Client, checkpoint: dict[str, Any], run_id: str) -> None:
        assert client.rows("/v1/checkpoints", run=run_id) == [checkpoint]
        assert client.rows("/v1/checkpoints") == [checkpoint]
        assert client.rows("/v1/checkpoints", run=client.run()["id"]) == []

    def test_another_projects_checkpoint_does_not_exist(self, checkpoint: dict[str, Any], service: Service) -> None:
        stranger = service.client()
        for path in ("", "/archive", "/files/model.safetensors"):
            assert stranger.get(f"/v1/checkpoints/{checkpoint['id']}{path}", expect=404)["code"] == "not_found"
        assert stranger.rows("/v1/checkpoints") == []


class TestCard:
    def test_has_training_and_every_evaluation(
        self, client: Client, checkpoint: dict[str, Any], run_id: str, service: Service
    ) -> None:
        before = client.http.get(f"/v1/checkpoints/{checkpoint['id']}/card")
        assert before.headers["Content-Type"] == "text/markdown; charset=utf-8"
        assert "Not measured when" in before.text
        with service.sessions.begin() as session:
            measure(session, run_id, checkpoint["id"])
        card = client.http.get(f"/v1/checkpoints/{checkpoint['id']}/card").text
        assert "| measurer | all | 0.780 | 0.710 to 0.840 |" in card
        assert all(text in card for text in (checkpoint["id"].replace("_", "\\_"), "| method | dpo |"))

    def test_another_projects_is_not_shown(self, checkpoint: dict[str, Any], service: Service) -> None:
        service.client().get(f"/v1/checkpoints/{checkpoint['id']}/card", expect=404)


class TestFiles:
    def test_arrive_as_published(self, client: Client, checkpoint: dict[str, Any]) -> None:
        for file in checkpoint["manifest"]["files"]:
            answer = client.http.get(f"/v1/checkpoints/{checkpoint['id']}/files/{file['name']}")
            assert hashlib.sha256(answer.content).hexdigest() == file["sha256"]
            assert answer.headers["ETag"] == f'"{file["sha256"]}"'

    @pytest.mark.parametrize(
        "name",
        [
            "manifest.json",
            "..%2F..%2Fmanifest.json",
            "%2E%2E/%2E%2E/etc/passwd",
            "%2Fetc%2Fpasswd",
            "tokenizer",
            "tokenizer/..%2Fmodel.safetensors",
            "model.safetensors%20",
        ],
    )
    def test_only_names_of_the_manifest_exist(self, client: Client, checkpoint: dict[str, Any], name: str) -> None:
        problem = client.get(f"/v1/checkpoints/{checkpoint['id']}/files/{name}", expect=404)
        assert problem["code"] in ("not_found", "route_not_found")

    def test_a_nul_in_the_name_is_refused(self, client: Client, checkpoint: dict[str, Any]) -> None:
        client.get(f"/v1/checkpoints/{checkpoint['id']}/files/model.safetensors%00", expect=400)

    def test_a_cut_file_is_said_to_be_damaged(
        self, client: Client, checkpoint: dict[str, Any], service: Service
    ) -> None:
        stored = service.store.path(f"checkpoints/{checkpoint['id']}") / "model.safetensors"
        stored.write_bytes(WEIGHTS[:-1])
        for path in ("files/model.safetensors", "archive"):
            problem = client.get(f"/v1/checkpoints/{checkpoint['id']}/{path}", expect=500)
            assert problem["code"] == "checkpoint_damaged"
        stored.unlink()
        assert client.get(f"/v1/checkpoints/{checkpoint['id']}/archive", expect=500)["code"] == "checkpoint_damaged"


class TestRanges:
    @pytest.mark.parametrize(
        ("asked", "start", "stop"),
        [
            ("bytes=0-9", 0, 10),
            ("bytes=1000000-", 1_000_000, len(WEIGHTS)),
            ("bytes=-5", len(WEIGHTS) - 5, len(WEIGHTS)),
            (f"bytes=0-{10**17}", 0, len(WEIGHTS)),
            (f"bytes=-{10**17}", 0, len(WEIGHTS)),
            (f"bytes={len(WEIGHTS) - 1}-", len(WEIGHTS) - 1, len(WEIGHTS)),
        ],
    )
    def test_one_range_is_206(
        self, client: Client, checkpoint: dict[str, Any], asked: str, start: int, stop: int
    ) -> None:
        answer = client.http.get(_weights(checkpoint), headers={"Range": asked})
        assert answer.status_code == 206
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(WEIGHTS)}"
        assert answer.headers["Content-Length"] == str(stop - start)
        assert answer.content == WEIGHTS[start:stop]

    @pytest.mark.parametrize("asked", [f"bytes={len(WEIGHTS)}-", f"bytes={10**17}-{10**17}", "bytes=-0"])
    def test_behind_the_end_is_416(self, client: Client, checkpoint: dict[str, Any], asked: str) -> None:
        answer = client.http.get(_weights(checkpoint), headers={"Range": asked})
        assert answer.status_code == 416
        assert answer.headers["Content-Range"] == f"bytes */{len(WEIGHTS)}"
        assert answer.json()["code"] == "range_not_satisfiable"

    @pytest.mark.parametrize(
        "asked", ["bytes=0-1,3-4", "bytes=" + "0-," * 2000, "bytes=9-1", "bytes=x-", "items=0-1", f"bytes={'9' * 400}-"]
    )
    def test_anything_else_is_the_whole(self, client: Client, checkpoint: dict[str, Any], asked: str) -> None:
        answer = client.http.get(_weights(checkpoint), headers={"Range": asked})
        assert (answer.status_code, len(answer.content)) == (200, len(WEIGHTS))
        assert answer.headers["Accept-Ranges"] == "bytes"

    def test_if_range_of_another_file_is_the_whole(self, client: Client, checkpoint: dict[str, Any]) -> None:
        etag = client.http.get(_weights(checkpoint), headers={"Range": "bytes=0-0"}).headers["ETag"]
        same = client.http.get(_weights(checkpoint), headers={"Range": "bytes=0-0", "If-Range": etag})
        other = client.http.get(_weights(checkpoint), headers={"Range": "bytes=0-0", "If-Range": '"other"'})
        assert (same.status_code, other.status_code) == (206, 200)

    def test_unchanged_is_304(self, client: Client, checkpoint: dict[str, Any]) -> None:
        etag = f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'
        answer = client.http.get(_weights(checkpoint), headers={"If-None-Match": etag})
        assert (answer.status_code, answer.content) == (304, b"")

    def test_an_empty_file_has_no_range(self, client: Client, checkpoint: dict[str, Any]) -> None:
        path = f"/v1/checkpoints/{checkpoint['id']}/files/{'long' * 40}.json"
        assert client.http.get(path).content == b""
        assert client.http.get(path, headers={"Range": "bytes=0-"}).status_code == 416


class TestArchive:
    def test_holds_every_file_and_the_manifest(self, client: Client, checkpoint: dict[str, Any]) -> None:
        answer = client.http.get(f"/v1/checkpoints/{checkpoint['id']}/archive")
        assert answer.headers["Content-Length"] == str(len(answer.content))
        with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
            files = {name: _content(archive, name) for name in archive.getnames()}
        assert json.loads(files.pop(f"{checkpoint['id']}/manifest.json")) == checkpoint["manifest"]
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        assert digests == {
            f"{checkpoint['id']}/{file['name']}": file["sha256"] for file in checkpoint["manifest"]["files"]
        }

    def test_is_the_same_bytes_again_and_in_pieces(self, client: Client, checkpoint: dict[str, Any]) -> None:
        path = f"/v1/checkpoints/{checkpoint['id']}/archive"
        whole = client.http.get(path)
        again = client.http.get(path)
        assert (again.content, again.headers["ETag"]) == (whole.content, whole.headers["ETag"])
        size, pieces = len(whole.content), b""
        for start in range(0, size, 300_007):
            stop = min(size, start + 300_007)
            pieces += client.http.get(path, headers={"Range": f"bytes={start}-{stop - 1}"}).content
        assert pieces == whole.content


def _weights(checkpoint: dict[str, Any]) -> str:
    return f"/v1/checkpoints/{checkpoint['id']}/files/model.safetensors"


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()
