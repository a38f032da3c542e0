"""Packs a release for instances that configure themselves: code, roles, and every package.

The same code and packages make the same bytes, wherever and whenever they are packed. Run it by
`make release`, in the project's folder.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import tarfile
from importlib.util import find_spec
from pathlib import Path

_FILES = Path("roles/fleet/files")
_ANSIBLE_LOCK = _FILES / "ansible-requirements.txt"
_LOCKS = (Path("requirements.txt"), _ANSIBLE_LOCK)
_CODE = ("ansible.cfg", "requirements.txt", "proxy", "roles", "playbooks")
_COLLECTIONS = ("community/crypto", "community/general")
_LEFT_OUT = {"__pycache__", "group_vars", "host_vars"}  # an operator's own, with what is secret
_LEFT_OUT_OF_COLLECTIONS = {"__pycache__", "changelogs", "docs", "tests", "LICENSES"}
_THEN = 315532800  # 1980, before which some programs know no time
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def main() -> None:
    """Pack it into `.release`, and say its version and SHA-256."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheels", type=Path, default=Path(".wheelhouse"))
    parser.add_argument("--arch", default="x86_64")
    parser.add_argument("--out", type=Path, default=Path(".release"))
    options = parser.parse_args()
    options.out.mkdir(exist_ok=True)
    packed = options.out / "release.tar"
    with tarfile.open(packed, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, path in sorted(_contents(options.wheels, options.arch).items()):
            _add(archive, name, path)
    with packed.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    version = f"{_version()}-{sha256[:12]}"
    path = packed.rename(options.out / f"{version}.tar")
    release = {"version": version, "sha256": sha256, "path": str(path.resolve())}
    (options.out / f"{options.arch}.json").write_text(json.dumps(release))
    print(f"{path}, SHA-256 {sha256}")


def _contents(wheels: Path, arch: str) -> dict[str, Path]:
    """The files, by their names in the archive."""
    found = {"join.py": _FILES / "join.py"}
    for name in _CODE:
        path = Path(name)
        for file in [path] if path.is_file() else _files_below(path, _LEFT_OUT):
            found[f"project/{file}"] = file
    collections = _collections()
    for name in _COLLECTIONS:
        for file in _files_below(collections / name, _LEFT_OUT_OF_COLLECTIONS):
            found[f"collections/ansible_collections/{file.relative_to(collections)}"] = file
    found |= {f"wheels/{wheel.name}": wheel for wheel in _locked(wheels, arch)}
    return found


def _files_below(folder: Path, left_out: set[str]) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and not left_out.intersection(path.relative_to(folder).parts)
    ]


def _collections() -> Path:
    """Where this Python's Ansible has its collections."""
    spec = find_spec("ansible_collections")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("There is no Ansible here: pip install ansible==12.3.0")
    return Path(spec.submodule_search_locations[0])


def _locked(wheels: Path, arch: str) -> list[Path]:
    """The wheels for this architecture that the locks name; others may lie there from before."""
    wanted = {found for lock in _LOCKS for found in _HASH.findall(lock.read_text())}
    chosen = [
        wheel
        for wheel in wheels.glob("*.whl")
        if wheel.stem.endswith(("-any", f"_{arch}"))
        and hashlib.sha256(wheel.read_bytes()).hexdigest() in wanted
    ]
    if not chosen:
        raise SystemExit(f"There are no wheels in {wheels}: make release")
    return chosen


def _add(archive: tarfile.TarFile, name: str, path: Path) -> None:
    content = path.read_bytes()
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime = len(content), _THEN
    entry.mode = 0o755 if content.startswith(b"#!") else 0o644
    archive.addfile(entry, io.BytesIO(content))


def _version() -> str:
    (version,) = re.findall(r'__version__ = "([^"]+)"', Path("proxy/__init__.py").read_text())
    return str(version)


if __name__ == "__main__":
    main()
