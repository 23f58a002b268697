"""The algorithms of the service as data, and what fits with what (Managed HSM, *about keys*)."""

from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

from sandbox import errors

RSA, EC, OCT = "RSA-HSM", "EC-HSM", "oct-HSM"
KEY_TYPES = {"RSA": RSA, "EC": EC, "oct": OCT, RSA: RSA, EC: EC, OCT: OCT}
RSA_SIZES = (2048, 3072, 4096)
OCT_SIZES = (128, 192, 256)
CURVES: dict[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-256K": ec.SECP256K1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
CURVE_NAMES = {curve.name: name for name, curve in CURVES.items()}
SHA1 = hashes.SHA1()  # noqa: S303 - RSA-OAEP is defined with SHA-1 (RFC 7518, section 4.3)
SHA256, SHA384, SHA512 = hashes.SHA256(), hashes.SHA384(), hashes.SHA512()

DEFAULT_KEY_OPS = {
    RSA: ("wrapKey", "decrypt", "encrypt", "unwrapKey", "sign", "verify"),
    EC: ("verify", "sign"),
    OCT: ("deriveKey", "wrapKey", "verify", "sign", "unwrapKey", "encrypt", "decrypt"),
}
KEY_OPS = frozenset(
    ("encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey", "deriveKey", "import", "export")
)


@dataclass(frozen=True)
class Signing:
    """``curve`` for ECDSA, ``pss`` for RSASSA-PSS; ``raw`` for RSNULL, which pads its input as it is."""

    kty: str
    hash: hashes.HashAlgorithm
    curve: str = ""
    pss: bool = False
    raw: bool = False


SIGNING = {
    "RS256": Signing(RSA, SHA256),
    "RS384": Signing(RSA, SHA384),
    "RS512": Signing(RSA, SHA512),
    "RSNULL": Signing(RSA, SHA256, raw=True),
    "PS256": Signing(RSA, SHA256, pss=True),
    "PS384": Signing(RSA, SHA384, pss=True),
    "PS512": Signing(RSA, SHA512, pss=True),
    "ES256": Signing(EC, SHA256, curve="P-256"),
    "ES256K": Signing(EC, SHA256, curve="P-256K"),
    "ES384": Signing(EC, SHA384, curve="P-384"),
    "ES512": Signing(EC, SHA512, curve="P-521"),
    "HS256": Signing(OCT, SHA256),
    "HS384": Signing(OCT, SHA384),
    "HS512": Signing(OCT, SHA512),
}

RSA_ENCRYPTION: dict[str, padding.AsymmetricPadding] = {
    "RSA1_5": padding.PKCS1v15(),
    "RSA-OAEP": padding.OAEP(padding.MGF1(SHA1), SHA1, None),
    "RSA-OAEP-256": padding.OAEP(padding.MGF1(SHA256), SHA256, None),
}
AES_ENCRYPTION = {f"A{size}{mode}": (mode, size) for size in OCT_SIZES for mode in ("GCM", "CBC", "CBCPAD")}
AES_WRAPPING = {f"A{size}KW": size for size in OCT_SIZES} | {"CKM_AES_KEY_WRAP": 0}


def signing(algorithm: object, kty: str, curve: str | None, digest: bytes) -> Signing:
    """The algorithm, when key and digest fit it. Raises HsmError otherwise."""
    found = SIGNING.get(algorithm) if isinstance(algorithm, str) else None
    if found is None:
        raise errors.bad_parameter(f"Invalid signature algorithm: {algorithm}")
    if found.kty != kty or (found.curve and found.curve != curve):
        raise errors.bad_parameter(f"Key and signing algorithm {algorithm} are incompatible")
    if not found.raw and len(digest) != found.hash.digest_size:
        raise errors.bad_parameter(
            f"Invalid length of digest for {algorithm}: {len(digest)} bytes, not {found.hash.digest_size}"
        )
    return found
