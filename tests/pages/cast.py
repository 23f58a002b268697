"""Who and what appears in the scene: people, crypto sources, and the HSM behind them. Knows no Django."""

import json
from dataclasses import dataclass
from typing import Final

ESEAL, SIGNING, ENDED, ARCHIVE, LONG, IDLE = (
    "Contoso eSeal",
    "Contoso code signing",
    "Fabrikam invoices",
    "Northwind archive",
    "Wide World Importers: qualified seals, production, Germany West Central",
    "Adventure Works test",
)
#: Where each source's HSM is said to be once nobody talks to it any more.
ADDRESSES: Final = {
    ESEAL: "contoso-eseal.managedhsm.azure.net",
    SIGNING: "contoso-signing.managedhsm.azure.net",
    ENDED: "fabrikam-invoices.managedhsm.azure.net",
    ARCHIVE: "northwind-archive.managedhsm.azure.net",
    LONG: "wide-world-importers-qualified-seals-production.managedhsm.azure.net",
    IDLE: "adventure-works-test.managedhsm.azure.net",
}
TENANT: Final = "https://login.microsoftonline.com/5d1c0a7e-94f1-4c9c-9a7e-2f1b6a1f8c11/oauth2/v2.0/token"
#: Days until each source's Key ends.
DAYS_LEFT: Final = {ESEAL: 412, SIGNING: 12, ENDED: -5, ARCHIVE: 730, LONG: 24, IDLE: 75}
PEOPLE: Final = {
    "operator": ("nina.berg", "Nina", "Berg"),
    "administrator": ("tom.okafor", "Tom", "Okafor"),
    "auditor": ("ines.duarte", "Ines", "Duarte"),
    "ops": ("raj.patel", "Raj", "Patel"),
}


@dataclass(frozen=True)
class SignIn:
    """What a person types at the door."""

    username: str
    password: str


#: Somebody without a role.
NEWCOMER: Final = SignIn("new.colleague", "no role was given")


@dataclass(frozen=True)
class Application:
    """An app registration in the sandbox: its id and a client secret."""

    application_id: str
    secret: str


@dataclass(frozen=True)
class Hsm:
    """The sandbox as a client sees it; ``applications`` by the name of the source that uses each."""

    address: str
    token_endpoint: str
    ca_file: str
    applications: dict[str, Application]

    @classmethod
    def read(cls, text: str) -> "Hsm":
        raw = json.loads(text)
        raw["applications"] = {name: Application(**app) for name, app in raw["applications"].items()}
        return cls(**raw)
