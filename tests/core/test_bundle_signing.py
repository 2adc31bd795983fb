"""Signatures: what was changed after signing, or signed by somebody else, is refused by name."""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import stat
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from jepa_ros.bundle import keys
from jepa_ros.bundle.loader import write_manifest
from jepa_ros.bundle.manifest import read_manifest
from jepa_ros.bundle.signing import SIGNATURE_NAME, open_trusted, sign_bundle, signed_by, verify_bundle
from jepa_ros.errors import BundleError


@pytest.fixture
def key(tmp_path):
    keys.make_keys(tmp_path / "owner")
    return tmp_path / "owner"


def public(private):
    return private.with_name(f"{private.name}.pub")


@pytest.fixture
def signed(tiny_bundle, key):
    sign_bundle(tiny_bundle, key)
    return tiny_bundle


def test_who_signed_it(tiny_bundle, key, tmp_path):
    made = keys.make_keys(tmp_path / "other")
    assert signed_by(tiny_bundle) is None
    signer = sign_bundle(tiny_bundle, key)
    assert verify_bundle(tiny_bundle, [tmp_path / "other.pub", public(key)]) == signer == signed_by(tiny_bundle)
    assert signer != made
    assert open_trusted(tiny_bundle, [str(public(key))]).manifest.name == "tiny"


def test_the_fingerprint_and_the_signature_are_what_openssl_would_make(signed, key):
    """Read by another program: the DER of the key, and ed25519 over the manifest's bytes."""
    found = json.loads((signed / SIGNATURE_NAME).read_text())
    other = load_pem_public_key(public(key).read_bytes())
    der = other.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert found["key"] == hashlib.sha256(der).hexdigest()
    other.verify(base64.b64decode(found["signature"]), (signed / "manifest.yaml").read_bytes())


def test_signing_again_replaces_the_signature(signed, key, tmp_path):
    other = tmp_path / "other"
    keys.make_keys(other)
    sign_bundle(signed, other)
    verify_bundle(signed, [public(other)])
    with pytest.raises(BundleError, match="which is none of the trusted"):
        verify_bundle(signed, [public(key)])


def test_a_bundle_that_nobody_signed(tiny_bundle, key):
    with pytest.raises(BundleError, match=r"tiny: is not signed, it has no manifest\.yaml\.sig"):
        verify_bundle(tiny_bundle, [public(key)])
    with pytest.raises(BundleError, match="is not signed"):
        open_trusted(tiny_bundle, [public(key)])


@pytest.mark.parametrize("trusted", [[], [""]])
def test_without_keys_any_bundle_opens_and_none_is_verified(tiny_bundle, trusted):
    assert open_trusted(tiny_bundle, trusted).manifest.name == "tiny"
    with pytest.raises(BundleError, match="no trusted key is given"):
        verify_bundle(tiny_bundle, [])


def test_an_empty_name_beside_a_key_takes_nothing_from_it(tiny_bundle, key):
    with pytest.raises(BundleError, match="is not signed"):
        open_trusted(tiny_bundle, ["", str(public(key))])


def test_one_character_of_the_manifest(signed, key):
    """Also one that means nothing: the bytes are signed."""
    path = signed / "manifest.yaml"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(BundleError, match=r"manifest\.yaml is not what was signed"):
        verify_bundle(signed, [public(key)])


def test_a_manifest_written_anew(signed, key):
    write_manifest(signed, read_manifest(signed).model_copy(update={"name": "another", "files": {}}))
    with pytest.raises(BundleError, match="is not what was signed"):
        verify_bundle(signed, [public(key)])


def test_the_signature_is_looked_at_before_the_manifest_is_parsed(signed, key):
    (signed / "manifest.yaml").write_text("nonsense")
    with pytest.raises(BundleError, match="is not what was signed"):
        open_trusted(signed, [public(key)])


def test_a_file_changed_behind_a_good_signature(signed, key):
    (signed / "golden.npz").write_bytes(b"other")
    with pytest.raises(BundleError, match=r"golden\.npz does not have the sha256"):
        verify_bundle(signed, [public(key)])


def test_the_signature_of_another_key_under_this_keys_name(signed, key):
    found = json.loads((signed / SIGNATURE_NAME).read_text())
    forged = ed25519.Ed25519PrivateKey.generate().sign((signed / "manifest.yaml").read_bytes())
    (signed / SIGNATURE_NAME).write_text(json.dumps({**found, "signature": base64.b64encode(forged).decode()}))
    with pytest.raises(BundleError, match="is not what was signed"):
        verify_bundle(signed, [public(key)])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"algorithm": "none"}, "algorithm"),
        ({"key": "zz"}, "key"),
        ({"signature": "short"}, "signature"),
        ({"signature": "!" * 88}, "signature"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_damaged_signature(signed, key, changes, says):
    found = json.loads((signed / SIGNATURE_NAME).read_text())
    (signed / SIGNATURE_NAME).write_text(json.dumps({**found, **changes}))
    with pytest.raises(BundleError, match=rf"manifest\.yaml\.sig is damaged \({says}: .*sign the bundle again"):
        verify_bundle(signed, [public(key)])
    with pytest.raises(BundleError, match="is damaged"):
        signed_by(signed)


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"[]", b"algorithm: ed25519"])
def test_a_signature_that_is_no_json(signed, key, text):
    (signed / SIGNATURE_NAME).write_bytes(text)
    with pytest.raises(BundleError, match=r"manifest\.yaml\.sig is damaged"):
        verify_bundle(signed, [public(key)])


def test_what_does_not_open_is_not_signed(tiny_bundle, key):
    (tiny_bundle / "golden.npz").write_bytes(b"other")
    with pytest.raises(BundleError, match="sha256"):
        sign_bundle(tiny_bundle, key)
    assert not (tiny_bundle / SIGNATURE_NAME).exists()


def test_a_manifest_that_lists_its_own_signature(signed, key):
    """Signing would change a file that is listed."""
    listed = hashlib.sha256((signed / SIGNATURE_NAME).read_bytes()).hexdigest()
    text = (signed / "manifest.yaml").read_text().replace("files:\n", f"files:\n  {SIGNATURE_NAME}: {listed}\n")
    (signed / "manifest.yaml").write_text(text)
    with pytest.raises(BundleError, match=r"lists manifest\.yaml\.sig, which is made from it"):
        sign_bundle(signed, key)


def test_no_folder(tmp_path, key):
    with pytest.raises(BundleError, match="is not signed"):
        verify_bundle(tmp_path / "nothing", [public(key)])
    with pytest.raises(BundleError, match="no such folder"):
        sign_bundle(tmp_path / "nothing", key)


def test_new_keys_are_private_and_replace_nothing(key, tmp_path):
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes(), public(key).read_bytes()
    with pytest.raises(BundleError, match="owner: exists already"):
        keys.make_keys(key)
    key.unlink()
    with pytest.raises(BundleError, match=r"owner\.pub: exists already"):
        keys.make_keys(key)
    assert not key.exists()
    assert public(key).read_bytes() == before[1]
    with pytest.raises(BundleError, match="cannot be written"):
        keys.make_keys(tmp_path / "nowhere" / "owner")


def test_a_key_with_a_password(tiny_bundle, key, tmp_path):
    locked = tmp_path / "locked"
    keys.make_keys(locked, b"sesame")
    for password, says in ((None, "is encrypted; give its password"), (b"open", "or has another password")):
        with pytest.raises(BundleError, match=says):
            sign_bundle(tiny_bundle, locked, password)
    with pytest.raises(BundleError, match="owner: is not encrypted"):
        sign_bundle(tiny_bundle, key, b"sesame")
    sign_bundle(tiny_bundle, locked, b"sesame")
    verify_bundle(tiny_bundle, [public(locked)])


def test_keys_that_are_none(signed, key, tmp_path):
    """A private key where a public one belongs, the other way round, another algorithm, and none at all."""
    with pytest.raises(BundleError, match=r"owner: is not a public key in PEM; trust the \.pub"):
        verify_bundle(signed, [key])
    with pytest.raises(BundleError, match=r"owner\.pub: is not a private key"):
        sign_bundle(signed, public(key))
    other = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    private, shown = tmp_path / "rsa", tmp_path / "rsa.pub"
    private.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    shown.write_bytes(other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(BundleError, match="rsa: is not an ed25519 key"):
        sign_bundle(signed, private)
    with pytest.raises(BundleError, match=r"rsa\.pub: is not an ed25519 key"):
        verify_bundle(signed, [public(key), shown])
    with pytest.raises(BundleError, match=r"none\.pub: cannot be read"):
        verify_bundle(signed, [tmp_path / "none.pub"])


def test_without_the_package(tiny_bundle, key, monkeypatch):
    """Bundles open, signatures say which extra they need."""
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    monkeypatch.delitem(sys.modules, "jepa_ros.bundle.keys")
    monkeypatch.delattr("jepa_ros.bundle.keys")
    assert open_trusted(tiny_bundle, [""]).manifest.name == "tiny"
    with pytest.raises(BundleError, match=r"jepa_ros\[sign\]"):
        open_trusted(tiny_bundle, [public(key)])
    with pytest.raises(BundleError, match=r"jepa_ros\[sign\]"):
        importlib.import_module("jepa_ros.bundle.keys")
