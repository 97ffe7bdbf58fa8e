"""A folder that notices any change: a manifest with the size and SHA-256 of every file, itself covered.

The manifest's own digest is taken over the rest of it, and its text must be exactly the canonical one. So a changed
byte anywhere, an extra file or a missing one is an error. This guards against accidents (a broken copy, a file
edited or swapped), not against somebody who writes a new manifest: compare `digest` with the one you were told.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from score_rl.core.errors import ScoreError
from score_rl.core.files import sha256, to_plain, write_text
from score_rl.core.publish import files_below
from score_rl.core.ranges import Natural
from score_rl.core.records import parse, parse_json, parse_kind, read_bytes, read_json

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What a folder holds."""

    kind: str
    """What the folder is."""
    version: int
    """Version of its format."""
    files: Mapping[str, Mapping[str, Any]]
    """Path relative to the folder (with /) -> {"sha256", "size"}; the manifest itself is left out."""
    digest: str
    """SHA-256 of the rest of the manifest, and so of everything: the folder's identity."""


@dataclass(frozen=True)
class _Entry:
    sha256: str
    size: Natural


@dataclass(frozen=True)
class _Stored:
    """The content of the manifest's file."""

    kind: str
    version: int
    files: Mapping[str, _Entry]
    sha256: str


def write_manifest(root: Path, kind: str, version: int) -> Manifest:
    """List all files below `root` in its manifest. Raises ScoreError for anything but plain files."""
    files = {name: _describe(root / name) for name in _listing(root)}
    body = {"kind": kind, "version": version, "files": files}
    manifest = Manifest(kind, version, files, _digest(body))
    write_text(root / MANIFEST, _text(body | {"sha256": manifest.digest}))
    return manifest


def verify_manifest(root: Path, kind: str, version: int) -> Manifest:
    """The manifest of a folder, after comparing every file with it.

    Raises ScoreError that names the file where anything was changed, added or removed, and for other kinds or
    versions of folders.
    """
    manifest = _read(root, kind, version)
    found = set(_listing(root))
    if missing := sorted(manifest.files.keys() - found):
        raise ScoreError(f"{root} is incomplete: {', '.join(missing)} is missing")
    if extra := sorted(found - manifest.files.keys()):
        raise ScoreError(f"{root} holds {', '.join(extra)}, which its {MANIFEST} does not list")
    for name, expected in manifest.files.items():
        actual = _describe(root / name)
        if actual["size"] != expected["size"]:
            raise ScoreError(f"{root / name} was changed: {actual['size']} bytes, expected {expected['size']}")
        if actual["sha256"] != expected["sha256"]:
            raise ScoreError(
                f"{root / name} was changed: its SHA-256 is {actual['sha256'][:12]}, expected "
                f"{expected['sha256'][:12]}"
            )
    return manifest


def foreign_files(root: Path, kind: str) -> list[str]:
    """Files of a folder that are not its own: those that the manifest of this kind does not list, and all files where
    there is no such manifest. Raises ScoreError for a manifest of another kind."""
    path = root / MANIFEST
    listed: set[str] = set()
    if path.is_file():
        values = read_json(path)
        if not isinstance(values, dict) or values.get("kind") != kind:
            raise ScoreError(f"{path} is no manifest of a {kind!r}; not replacing its folder")
        listed = set(parse(_Stored, values, path).files)
    if not root.is_dir():
        raise ScoreError(f"{root} is a file, not a folder")
    found = files_below(root)
    return [name for name in found if name not in listed and (not listed or name != MANIFEST)]


def _read(root: Path, kind: str, version: int) -> Manifest:
    path = root / MANIFEST
    if not path.is_file():
        raise ScoreError(f"{root} is no {kind}: it has no {MANIFEST}")
    text = read_bytes(path)
    stored = parse_kind(_Stored, parse_json(text, str(path)), path, kind, version)
    body = {"kind": kind, "version": version, "files": to_plain(stored.files)}
    if _digest(body) != stored.sha256 or _text(body | {"sha256": stored.sha256}).encode() != text:
        raise ScoreError(f"{path} was changed: it does not agree with its own SHA-256")
    return Manifest(kind, version, body["files"], stored.sha256)


def _listing(root: Path) -> list[str]:
    """Relative paths of all files below `root` but the manifest, sorted."""
    names = []
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = Path(folder, name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise ScoreError(f"{path} is neither a file nor a folder; links are not followed")
        names += [Path(folder, name).relative_to(root).as_posix() for name in files]
    return sorted(name for name in names if name != MANIFEST)


def _describe(path: Path) -> dict[str, Any]:
    return {"sha256": sha256(path), "size": path.stat().st_size}


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(_text(body).encode()).hexdigest()


def _text(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2, sort_keys=True) + "\n"
