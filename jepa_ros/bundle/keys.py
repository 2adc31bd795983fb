"""Keys that sign bundles: ed25519 in PEM files, as OpenSSL writes them.

Importing this needs the `cryptography` package, which nothing else of the core does: import it where it is used.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from jepa_ros.errors import BundleError

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
except ImportError as error:
    raise BundleError(
        "signatures need the package cryptography, which is not installed: pip install 'jepa_ros[sign]'"
    ) from error


def make_keys(path: Path, password: bytes | None = None) -> str:
    """Make a pair of keys: the private one (PKCS8) at `path`, readable by its owner only, the public one
    (SubjectPublicKeyInfo) at `path`.pub.

    Args:
        path: must not exist yet.
        password: encrypts the private key; None leaves it plain.

    Returns:
        Their fingerprint.

    Raises:
        BundleError: one of the files exists already or cannot be written.
    """
    public = path.with_name(f"{path.name}.pub")
    for file in (path, public):
        if file.exists():
            raise BundleError(f"key {file}: exists already and is left as it is; give another name")
    key = Ed25519PrivateKey.generate()
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    private_text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
    public_text = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for file, text, mode in ((path, private_text, 0o600), (public, public_text, 0o644)):
        try:
            # Private from its first moment on, and never over what somebody else has put there meanwhile.
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
                out.write(text)
        except OSError as error:
            raise BundleError(f"key {file}: cannot be written ({error.strerror})") from error
    return fingerprint(key.public_key())


def fingerprint(key: Ed25519PublicKey) -> str:
    """sha256 of a public key as DER, hexadecimal: `openssl pkey -pubin -in KEY -outform DER | sha256sum`."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def read_private(path: Path, password: bytes | None = None) -> Ed25519PrivateKey:
    """The private key of a file.

    Raises:
        BundleError: no such file, no private ed25519 key, or another password.
    """
    text = _text(path)
    try:
        key = serialization.load_pem_private_key(text, password)
    except TypeError as error:  # encrypted and no password given, or the other way round
        what = "is encrypted; give its password" if password is None else "is not encrypted; give no password"
        raise BundleError(f"key {path}: {what}") from error
    except Exception as error:  # a wrong password, no PEM, an unknown algorithm: they share no base class
        raise BundleError(f"key {path}: is not a private key in PEM, or has another password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError(f"key {path}: is not an ed25519 key; make one with jepa-bundle keygen")
    return key


def read_public(path: Path) -> Ed25519PublicKey:
    """The public key of a file.

    Raises:
        BundleError: no such file, or no public ed25519 key.
    """
    text = _text(path)
    try:
        key = serialization.load_pem_public_key(text)
    except Exception as error:  # as above
        raise BundleError(f"key {path}: is not a public key in PEM; trust the .pub of a pair") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BundleError(f"key {path}: is not an ed25519 key; make one with jepa-bundle keygen")
    return key


def holds(key: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether the owner of this key signed this message."""
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"key {path}: cannot be read ({error.strerror})") from error
