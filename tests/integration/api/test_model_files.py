"""What is looked at before a model may be loaded: archives, directories, safetensors headers."""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import re
import shutil
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from tokenizers import Tokenizer, models

from app.archives import InvalidArchive, unpack
from app.model_directory import InvalidModel, inspect_model
from app.safetensors_header import InvalidSafetensors, tensor_sizes
from tests.integration.api.conftest import EXAMPLES


def _parameters() -> int:
    """What the example model has, by the library that loads it."""
    with safe_open(EXAMPLES / "base_model" / "model.safetensors", framework="numpy") as weights:
        return sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118  no mapping: it has `keys` alone


PARAMETERS = _parameters()


BROKEN_TOKENIZERS: list[tuple[dict[str, Any], str]] = [
    ({"type": "Nope", "vocab": {"a": 0}}, "known: BPE"),
    ({"type": "BPE", "merges": []}, "vocab is missing"),
    ({"type": "BPE", "vocab": ["a"], "merges": []}, "vocab is missing"),
    ({"type": "BPE", "vocab": {"a": 0}}, "merges is missing"),
    ({"type": "BPE", "vocab": {"a": "0"}, "merges": []}, "no token id"),
    ({"type": "WordPiece", "vocab": {"a": -1}}, "no token id"),
    ({"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}, "'b', which"),
    ({"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": [["a", "b"]]}, "'ab', which"),
    ({"type": "BPE", "vocab": {"a": 0}, "merges": ["a"]}, "no pair"),
    ({"type": "Unigram", "vocab": {"a": 0}}, "list of tokens"),
    ({"type": "Unigram", "vocab": [["a", "b"]]}, "no token with a score"),
]
SOUND_TOKENIZERS = [
    models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]),
    models.BPE({"a": 0, "##b": 1, "ab": 2}, [("a", "##b")], continuing_subword_prefix="##"),
    models.Unigram([("a", -0.5)]),
    models.WordLevel({"a": 0}, unk_token="a"),
    models.WordPiece({"a": 0}, unk_token="a"),
]


class Canary:
    """Unpickling it leaves a directory behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A valid model that the test may spoil."""
    return Path(shutil.copytree(EXAMPLES / "base_model", tmp_path / "model"))


def edit(path: Path, **changes: Any) -> None:
    document = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Callable[[tarfile.TarFile], None]:
    def add(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        archive.addfile(info, io.BytesIO())

    return add


class TestUnpack:
    @pytest.mark.parametrize(
        "add",
        [
            member("../escape"), member("/etc/passwd"), member("a/../../escape"), member("a/b/c"), member(".hidden"),
            member("a\nb"), member("c:\\x"), member("link", tarfile.SYMTYPE, "/etc/passwd"),
            member("hard", tarfile.LNKTYPE, "config.json"), member("fifo", tarfile.FIFOTYPE),
            member("device", tarfile.CHRTYPE), member("x" * 300),
        ],
    )  # fmt: skip
    def test_a_member_that_is_no_plain_file(self, tmp_path: Path, add: Callable[[tarfile.TarFile], None]) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            member("config.json")(archive)
            add(archive)
        target = tmp_path / "deep" / "target"
        target.mkdir(parents=True)
        buffer.seek(0)
        with pytest.raises(InvalidArchive):
            unpack(buffer, target, max_bytes=1000)
        assert {path.name for path in tmp_path.rglob("*")} == {"deep", "target", "config.json"}

    def test_a_name_twice(self, tmp_path: Path) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            member("config.json")(archive)
            member("./config.json")(archive)
        buffer.seek(0)
        with pytest.raises(InvalidArchive, match="twice"):
            unpack(buffer, tmp_path, max_bytes=1000)


class TestInspect:
    def refused(self, directory: Path, file: str, match: str | None = None) -> None:
        with pytest.raises(InvalidModel, match=match) as caught:
            inspect_model(directory)
        assert caught.value.file == file

    def test_a_valid_model(self, directory: Path) -> None:
        assert inspect_model(directory).parameters == PARAMETERS

    @pytest.mark.parametrize(
        "name",
        [
            "modeling_x.py", "pytorch_model.bin", "optimizer.pt", "rng_state.pth", "weights.pkl", "model.h5", "x.so",
            "training_args.bin", "model.gguf", "model.onnx", "run.sh", ".env", "README", "tokenizer.json.py",
        ],
    )  # fmt: skip
    def test_a_kind_of_file_that_is_refused(self, directory: Path, name: str) -> None:
        (directory / name).write_bytes(b"x")
        self.refused(directory, name, "refused")

    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    @pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.model", "notes.txt", "generation_config.json"])
    def test_a_pickle_under_any_name_is_refused_and_never_loaded(
        self, directory: Path, tmp_path: Path, name: str, protocol: int
    ) -> None:
        canary = tmp_path / "canary"
        (directory / name).write_bytes(pickle.dumps(Canary(canary), protocol=protocol))
        self.refused(directory, name)
        assert not canary.exists()

    @pytest.mark.parametrize("head", [b"PK\x03\x04torch", b"\x7fELF", b"#!/bin/sh\n", b"MZ"])
    def test_other_things_under_an_allowed_name(self, directory: Path, head: bytes) -> None:
        (directory / "tokenizer.model").write_bytes(head)
        self.refused(directory, "tokenizer.model", "not data")

    @pytest.mark.parametrize("key", ["auto_map", "trust_remote_code", "custom_generate"])
    @pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json"])
    def test_keys_that_load_code(self, directory: Path, name: str, key: str) -> None:
        edit(directory / name, nested={"deep": [{key: {"AutoModel": "x.Y"}}]})
        self.refused(directory, name, key)

    def test_an_adapter(self, directory: Path) -> None:
        (directory / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/model"}')
        self.refused(directory, "adapter_config.json", "merge")

    @pytest.mark.parametrize(
        "changes",
        [
            {"model_type": "custom"}, {"model_type": None}, {"model_type": ["llama"]}, {"architectures": ["EvilLM"]},
            {"architectures": []}, {"architectures": ["LlamaForCausalLM", "EvilLM"]}, {"architectures": None},
            {"model_type": "qwen2"},
        ],
    )  # fmt: skip
    def test_an_unknown_architecture(self, directory: Path, changes: dict[str, Any]) -> None:
        edit(directory / "config.json", **changes)
        self.refused(directory, "config.json")

    @pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
    def test_a_missing_part(self, directory: Path, name: str) -> None:
        (directory / name).unlink()
        self.refused(directory, name)

    @pytest.mark.parametrize("template", [None, "", "   ", "{% for %}", 7, [{"name": "other", "template": "x"}]])
    def test_no_usable_chat_template(self, directory: Path, template: Any) -> None:
        edit(directory / "tokenizer_config.json", chat_template=template)
        self.refused(directory, "tokenizer_config.json", "chat template")

    @pytest.mark.parametrize(
        "template",
        ["{% generation %}{{ messages }}{% endgeneration %}", "{% for m in messages %}{% break %}{% endfor %}"],
    )
    def test_what_transformers_adds_to_jinja(self, directory: Path, template: str) -> None:
        (directory / "chat_template.jinja").write_text(template)
        edit(directory / "tokenizer_config.json", chat_template=None)
        assert inspect_model(directory).family == "llama"

    def test_constants_of_a_template_are_not_evaluated(self, directory: Path) -> None:
        """Compiling would fold this one, and never end."""
        edit(directory / "tokenizer_config.json", chat_template="{{ 9 ** 9 ** 9 ** 9 }}")
        assert inspect_model(directory).family == "llama"

    def test_a_length_beyond_int64_which_transformers_writes(self, directory: Path) -> None:
        edit(directory / "tokenizer_config.json", model_max_length=int(1e30))
        assert inspect_model(directory).family == "llama"

    def test_a_link(self, directory: Path) -> None:
        (directory / "LICENSE").symlink_to("/etc/passwd")
        self.refused(directory, "LICENSE", "links")

    def test_a_subdirectory(self, directory: Path) -> None:
        (directory / "code").mkdir()
        self.refused(directory, "code", "subdirectories")

    @pytest.mark.parametrize("content", [b"{", b'{"model": {}, "model": {}}', b"[]", b"\xff"])
    def test_a_broken_tokenizer(self, directory: Path, content: bytes) -> None:
        (directory / "tokenizer.json").write_bytes(content)
        self.refused(directory, "tokenizer.json")

    @pytest.mark.parametrize("instead", [("tokenizer.model",), ("vocab.json", "merges.txt")])
    def test_a_tokenizer_in_another_format(self, directory: Path, instead: tuple[str, ...]) -> None:
        """The stages read tokenizer.json alone: a model without it would be refused in its first run."""
        (directory / "tokenizer.json").unlink()
        for name in instead:
            (directory / name).write_text("{}")
        self.refused(directory, "tokenizer.json", re.escape("AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"))

    @pytest.mark.parametrize(("model", "match"), BROKEN_TOKENIZERS)
    def test_a_tokenizer_that_could_not_be_loaded(self, directory: Path, model: dict[str, Any], match: str) -> None:
        """By the library that loads it too, which is not at hand where models are registered."""
        edit(directory / "tokenizer.json", model=model)
        with pytest.raises(BaseException, match=r"\S"):
            Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.refused(directory, "tokenizer.json", match)

    @pytest.mark.parametrize("model", SOUND_TOKENIZERS)
    def test_every_kind_of_tokenizer(self, directory: Path, model: models.Model) -> None:
        (directory / "tokenizer.json").write_text(Tokenizer(model).to_str())
        assert inspect_model(directory).family == "llama"

    def test_sharded_weights(self, directory: Path) -> None:
        (directory / "model.safetensors").rename(directory / "model-00001-of-00001.safetensors")
        names = tensor_sizes(directory / "model-00001-of-00001.safetensors")
        index = directory / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": dict.fromkeys(names, "model-00001-of-00001.safetensors")}))
        assert inspect_model(directory).parameters == PARAMETERS
        for wrong in ({"x": "model-00001-of-00001.safetensors"}, {next(iter(names)): "../x.safetensors"}, {"x": 7}):
            index.write_text(json.dumps({"weight_map": wrong}))
            self.refused(directory, "model.safetensors.index.json")


def safetensors(header: Any, data: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def tensor(shape: list[Any], offsets: list[Any], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


class TestSafetensorsHeader:
    def test_sizes(self, tmp_path: Path) -> None:
        path = tmp_path / "x.safetensors"
        header = {"b": tensor([2, 2], [4, 20]), "a": tensor([2], [0, 4], "F16"), "__metadata__": {"format": "pt"}}
        path.write_bytes(safetensors(header, bytes(20)))
        assert tensor_sizes(path) == {"a": 2, "b": 4}

    @pytest.mark.parametrize(
        "content",
        [
            b"", b"\x00" * 7, b"\xff" * 8 + b"{}", struct.pack("<Q", 2**62) + b"{}", safetensors(b"{"),
            safetensors(b"[]"), safetensors({}), safetensors({"a": 7}, bytes(8)), safetensors({"a": {}}, bytes(8)),
            safetensors({"a": tensor([2], [0, 8], "F1")}, bytes(8)),
            safetensors({"a": tensor([2], [0, 8])}, bytes(7)),
            safetensors({"a": tensor([2], [0, 8])}, bytes(9)),
            safetensors({"a": tensor([3], [0, 8])}, bytes(8)),
            safetensors({"a": tensor([2], [8, 0])}, bytes(8)),
            safetensors({"a": tensor([-2], [0, -8])}, b""),
            safetensors({"a": tensor([2.0], [0, 8])}, bytes(8)),
            safetensors({"a": tensor([2], [0, 8]), "b": tensor([2], [4, 12])}, bytes(12)),
            safetensors({"a": tensor([2], [0, 8]), "b": tensor([2], [12, 20])}, bytes(20)),
            safetensors(b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}, "a": 1}', bytes(1)),
        ],
    )  # fmt: skip
    def test_a_header_that_does_not_fit(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "x.safetensors"
        path.write_bytes(content)
        with pytest.raises(InvalidSafetensors):
            tensor_sizes(path)
