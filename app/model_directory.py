"""Looks at a model's directory before anything may load it: plain data files of a known architecture, no code.

Nothing here executes, unpickles or imports what a client brought; weights are judged by their safetensors headers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.chat_template import TEMPLATE_FILE, ChatTemplate, InvalidTemplate
from app.json_text import InvalidJson, parse_file
from app.rlaif.architectures import ARCHITECTURES, ENCODERS, Architecture, architecture_of
from app.safetensors_header import InvalidSafetensors, tensor_sizes
from app.tokenizer_document import InvalidTokenizer, require_tokenizer

_ALLOWED = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}\.(json|safetensors|txt|jinja|md)|tokenizer\.model|(LICENSE|NOTICE)([.-][A-Za-z]+)?"
)
_REFUSED_FILES = {"adapter_config.json": "merge the adapter into the weights: an adapter names another model to load"}
_REFUSED_KEYS = {
    "auto_map": "it makes loaders run code from the directory: use an architecture that needs none",
    "trust_remote_code": "remove it: code of a model is never run",
    "custom_generate": "remove it: code of a model is never run",
}
_NOT_DATA = {b"PK\x03\x04": "a zip or torch archive", b"\x7fELF": "a program", b"MZ": "a program", b"#!": "a script"}
_MAX_JSON_BYTES = 128 * 2**20


class InvalidModel(ValueError):
    """The directory must not or could not be loaded; `file` says where, the message why and what to do."""

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(f"{file}: {problem}")
        self.file = file


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the files say about themselves."""

    family: str
    architecture: str
    parameters: int


def inspect_model(directory: Path) -> ModelFacts:
    """Raises InvalidModel at the first thing that is wrong."""
    files = {path.name: path for path in _plain_files(directory)}
    for path in files.values():
        _require_data(path)
    documents = {name: _document(path) for name, path in files.items() if name.endswith(".json")}
    for name, document in documents.items():
        _require_no_code(name, document)
    name, architecture = _architecture(documents)
    _require_tokenizer(documents)
    if architecture.encodes:
        _require_marks(documents)
    if not architecture.encodes or _has_template(files, documents):
        _require_chat_template(files, documents)
    return ModelFacts(architecture.family, name, _parameters(files, documents))


def _plain_files(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.iterdir()):
        if path.is_symlink() or not path.is_file():
            raise InvalidModel(path.name[:200], "only plain files are allowed, no links and no subdirectories")
        if reason := _REFUSED_FILES.get(path.name):
            raise InvalidModel(path.name, reason)
        if not _ALLOWED.fullmatch(path.name):
            raise InvalidModel(
                path.name[:200], "this kind of file is refused: weights must be safetensors, and no code may come along"
            )
        yield path


def _require_data(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(16)
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and path.suffix != ".safetensors":
        raise InvalidModel(path.name, "this is a pickle, which can run code: convert the weights to safetensors")
    for magic, what in _NOT_DATA.items():
        if head.startswith(magic):
            raise InvalidModel(path.name, f"this is {what}, not data: leave it out")


def _document(path: Path) -> Any:
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise InvalidModel(path.name, f"larger than {_MAX_JSON_BYTES} bytes, which no tokenizer or index is")
    try:
        return parse_file(path.read_bytes())
    except InvalidJson as error:
        raise InvalidModel(path.name, str(error)) from error


def _require_no_code(name: str, document: Any) -> None:
    if isinstance(document, dict):
        for key, reason in _REFUSED_KEYS.items():
            if key in document:
                raise InvalidModel(name, f"it has the key {key!r}: {reason}")
    if name != "tokenizer.json" and isinstance(document, dict | list):  # its vocabulary may hold any word as a key
        for item in document.values() if isinstance(document, dict) else document:
            _require_no_code(name, item)


def _architecture(documents: dict[str, Any]) -> tuple[str, Architecture]:
    """The class that the configuration names, and what is known of its type."""
    config = documents.get("config.json")
    if not isinstance(config, dict):
        raise InvalidModel("config.json", "missing or not an object: every model needs one")
    model_type, named = config.get("model_type"), config.get("architectures")
    found = architecture_of(model_type) if isinstance(model_type, str) else None
    if found is None:
        known = ", ".join((*ARCHITECTURES, *ENCODERS))
        raise InvalidModel("config.json", f"model_type {str(model_type)[:100]!r} is unknown here; known: {known}")
    if named not in [[name] for name in found.classes]:
        allowed = " or ".join(f"[{name!r}]" for name in found.classes)
        raise InvalidModel("config.json", f"architectures must be {allowed} for {model_type}, not {str(named)[:200]}")
    return str(named[0]), found


def _require_tokenizer(documents: dict[str, Any]) -> None:
    """Every stage reads tokenizer.json, with a library that cannot read the other formats."""
    if not isinstance(documents.get("tokenizer_config.json"), dict):
        raise InvalidModel("tokenizer_config.json", "missing or not an object: every tokenizer needs one")
    if "tokenizer.json" not in documents:
        raise InvalidModel(
            "tokenizer.json",
            "missing: tokenizer.model, or vocab.json and merges.txt, are not read here; make it with transformers' "
            "`AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)`",
        )
    try:
        require_tokenizer(documents["tokenizer.json"])
    except InvalidTokenizer as error:
        raise InvalidModel("tokenizer.json", str(error)) from error


def _require_marks(documents: dict[str, Any]) -> None:
    """An encoder reads a text between two special tokens, at the first of which it is scored."""
    for name in ("cls_token", "sep_token"):
        if not documents["tokenizer_config.json"].get(name):
            raise InvalidModel("tokenizer_config.json", f"{name} is missing: an encoder's input stands between the two")


def _has_template(files: dict[str, Path], documents: dict[str, Any]) -> bool:
    return TEMPLATE_FILE in files or bool(documents["tokenizer_config.json"].get("chat_template"))


def _require_chat_template(files: dict[str, Path], documents: dict[str, Any]) -> None:
    file = _text(files[TEMPLATE_FILE]) if TEMPLATE_FILE in files else None
    try:
        ChatTemplate.read(documents["tokenizer_config.json"], file=file, special_tokens={})
    except InvalidTemplate as error:
        raise InvalidModel("tokenizer_config.json" if file is None else TEMPLATE_FILE, str(error)) from error


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidModel(path.name, "not UTF-8") from error


def _parameters(files: dict[str, Path], documents: dict[str, Any]) -> int:
    sizes: dict[str, dict[str, int]] = {}
    for name, path in files.items():
        if path.suffix == ".safetensors":
            try:
                sizes[name] = tensor_sizes(path)
            except InvalidSafetensors as error:
                raise InvalidModel(name, str(error)) from error
    if "model.safetensors" in sizes:
        _require_only(sizes, {"model.safetensors"})
    else:
        _require_index(sizes, documents.get("model.safetensors.index.json"))
    return sum(sum(tensors.values()) for tensors in sizes.values())


def _require_only(sizes: dict[str, dict[str, int]], wanted: set[str]) -> None:
    if extra := sorted(set(sizes) - wanted):
        raise InvalidModel(extra[0], "no part of the model names this file: leave it out")


def _require_index(sizes: dict[str, dict[str, int]], index: Any) -> None:
    name = "model.safetensors.index.json"
    if not isinstance(index, dict) or not isinstance(index.get("weight_map"), dict) or not index["weight_map"]:
        raise InvalidModel("model.safetensors", f"missing, and there is no {name} with a weight_map")
    for tensor, file in index["weight_map"].items():
        if not isinstance(file, str) or tensor not in sizes.get(file, {}):
            raise InvalidModel(name, f"it says that {tensor[:200]!r} is in {json.dumps(file)[:200]}, which it is not")
    _require_only(sizes, set(index["weight_map"].values()))
