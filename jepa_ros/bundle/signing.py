"""Signed bundles: a robot that trusts a key runs only what its owner has signed.

What is signed are the bytes of `manifest.yaml`, with ed25519. The manifest holds the sha256 of every other file, so
the signature covers them all but README.md. It lies beside the manifest, in `manifest.yaml.sig`:

    {"algorithm": "ed25519", "key": "<fingerprint of the public key>", "signature": "<base64>"}
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jepa_ros.bundle.loader import Bundle, load_bundle
from jepa_ros.bundle.manifest import MANIFEST_NAME
from jepa_ros.errors import BundleError

SIGNATURE_NAME = f"{MANIFEST_NAME}.sig"
_SIGNATURE_BYTES = 4096  # many times what it has


class _Signed(BaseModel):
    """What `manifest.yaml.sig` holds. 64 bytes are 88 characters of base64."""

    model_config = ConfigDict(extra="forbid")

    algorithm: Literal["ed25519"]
    key: str = Field(pattern=r"^[0-9a-f]{64}$")
    signature: str = Field(pattern=r"^[A-Za-z0-9+/]{86}==$")


def sign_bundle(folder: Path, private_key: Path, password: bytes | None = None) -> str:
    """Sign a bundle whose files are what its manifest says; a signature that is there is replaced.

    Args:
        folder: the bundle's.
        private_key: PEM file, see `jepa_ros.bundle.keys`.
        password: of the key; None where it is not encrypted.

    Returns:
        The key's fingerprint.

    Raises:
        BundleError: the bundle does not open, the key cannot be used, or the signature cannot be written.
    """
    from jepa_ros.bundle import keys

    key = keys.read_private(private_key, password)
    if SIGNATURE_NAME in load_bundle(folder).manifest.files:
        raise BundleError(f"bundle {folder}: the manifest lists {SIGNATURE_NAME}, which is made from it; leave it out")
    signature = base64.b64encode(key.sign(_manifest(folder))).decode()
    signed = _Signed(algorithm="ed25519", key=keys.fingerprint(key.public_key()), signature=signature)
    try:
        (folder / SIGNATURE_NAME).write_text(signed.model_dump_json() + "\n")
    except OSError as error:
        raise BundleError(f"bundle {folder}: {SIGNATURE_NAME} cannot be written ({error.strerror})") from error
    return signed.key


def verify_bundle(folder: Path, public_keys: Sequence[Path]) -> str:
    """Check the signature and every file of a bundle.

    Returns:
        Fingerprint of the key that signed it.

    Raises:
        BundleError: no key is given or one cannot be read, the bundle is not signed, by none of these keys or for
            another manifest, its signature is damaged, or it does not open.
    """
    signer = _signer(folder, public_keys)
    load_bundle(folder)
    return signer


def open_trusted(path: str | Path, public_keys: Sequence[str | Path]) -> Bundle:
    """Open a bundle that one of these keys has signed; without keys, any bundle.

    The signature is checked before anything of the bundle is parsed.

    Args:
        path: the bundle's folder.
        public_keys: PEM files. Empty text is none: a ROS parameter has no empty list.

    Raises:
        BundleError: as `verify_bundle` and `load_bundle`.
    """
    keys = [Path(key) for key in public_keys if str(key)]
    if keys:
        _signer(Path(path), keys)
    return load_bundle(path)


def signed_by(folder: Path) -> str | None:
    """Fingerprint that a bundle's signature names, None where there is none. It proves nothing: see `verify_bundle`.

    Raises:
        BundleError: the signature is damaged.
    """
    return _read(folder).key if (folder / SIGNATURE_NAME).is_file() else None


def _signer(folder: Path, public_keys: Sequence[Path]) -> str:
    """Check the signature over the manifest's bytes; see `verify_bundle`."""
    from jepa_ros.bundle import keys

    trusted = {keys.fingerprint(key): key for key in map(keys.read_public, public_keys)}
    if not trusted:
        raise BundleError(f"bundle {folder}: no trusted key is given; give the public key of whoever signed it")
    if not (folder / SIGNATURE_NAME).is_file():
        raise BundleError(f"bundle {folder}: is not signed, it has no {SIGNATURE_NAME}; sign it with jepa-bundle sign")
    signed = _read(folder)
    if signed.key not in trusted:
        known = ", ".join(name[:16] for name in trusted)
        raise BundleError(f"bundle {folder}: signed by key {signed.key[:16]}, which is none of the trusted ({known})")
    if not keys.holds(trusted[signed.key], base64.b64decode(signed.signature), _manifest(folder)):
        raise BundleError(
            f"bundle {folder}: {MANIFEST_NAME} is not what was signed; it or {SIGNATURE_NAME} was changed since"
        )
    return signed.key


def _manifest(folder: Path) -> bytes:
    try:
        return (folder / MANIFEST_NAME).read_bytes()
    except OSError as error:
        raise BundleError(f"bundle {folder}: {MANIFEST_NAME} cannot be read ({error.strerror})") from error


def _read(folder: Path) -> _Signed:
    try:
        with (folder / SIGNATURE_NAME).open("rb") as file:
            return _Signed.model_validate_json(file.read(_SIGNATURE_BYTES))
    except OSError as error:
        raise BundleError(f"bundle {folder}: {SIGNATURE_NAME} cannot be read ({error.strerror})") from error
    except ValidationError as error:
        found = error.errors()[0]
        field = ".".join(str(part) for part in found["loc"]) or "the whole"
        raise BundleError(
            f"bundle {folder}: {SIGNATURE_NAME} is damaged ({field}: {found['msg']}); sign the bundle again"
        ) from error
