"""The rules of trouble as data: what each hits, how often, and what it does.

A document is ``{"seed": 7, "rules": [{...}, ...]}``. A rule names its ``effect``; the rest has defaults:

- what it hits: ``operations``, ``keys`` (a pattern such as ``invoice-*``), ``hsm``, ``application``;
- how often: ``probability``, or ``every`` so many times; at most the ``next`` so many times;
- when: ``after`` so many seconds from loading, ``for`` so many seconds, on the sandbox's clock;
- what the effect needs: see ``EFFECTS``.
"""

from dataclasses import dataclass, field

from sandbox import data_plane, rbac

Json = dict[str, object]

TOKEN, DISCOVERY, CHALLENGE = "token", "discovery", "challenge"
BEFORE, AFTER = "before", "after"
ON_HSM = frozenset((*data_plane.OPERATIONS, *rbac.OPERATIONS))
ON_ENTRA = frozenset((TOKEN, DISCOVERY))
ON_GRAPH = frozenset(f"graph {op}" for op in ("list", "get", "addPassword", "removePassword"))
EVERYWHERE = ON_HSM | ON_ENTRA | ON_GRAPH | {CHALLENGE}
TAKES_A_NAME = frozenset(("create", "import", "restore"))
# Policies of rotation hang on keys as they are; no region keeps old ones.
LAGGING = frozenset(op for op in data_plane.OPERATIONS if "rotationpolicy" not in op)


@dataclass(frozen=True)
class Effect:
    """Where an effect can strike, what it strikes by default, which settings it must and may have.

    A *standing* effect is not a matter of single requests: it holds as long as the rule's time.
    """

    possible: frozenset[str]
    usual: frozenset[str] = ON_HSM
    needs: frozenset[str] = frozenset()
    allows: frozenset[str] = frozenset()
    standing: bool = False


EFFECTS: dict[str, Effect] = {
    "latency": Effect(EVERYWHERE, needs=frozenset(("seconds",))),
    "throttle": Effect(EVERYWHERE, allows=frozenset(("retry_after",))),
    "error": Effect(EVERYWHERE, needs=frozenset(("status",)), allows=frozenset(("moment", "retry_after"))),
    "reset": Effect(EVERYWHERE, allows=frozenset(("moment",))),
    "hang": Effect(EVERYWHERE, allows=frozenset(("moment",))),
    "deny": Effect(ON_HSM),
    "revoke-token": Effect(ON_HSM, allows=frozenset(("claims",))),
    "short-token": Effect(frozenset((TOKEN,)), frozenset((TOKEN,)), needs=frozenset(("seconds",))),
    "purge-window": Effect(TAKES_A_NAME, TAKES_A_NAME, needs=frozenset(("seconds",))),
    "lag": Effect(LAGGING, LAGGING, needs=frozenset(("seconds",))),
    "lose-role": Effect(ON_HSM, needs=frozenset(("role",)), standing=True),
    "skew": Effect(EVERYWHERE, needs=frozenset(("seconds", "clock")), standing=True),
}


@dataclass(frozen=True)
class Rule:
    """``seconds`` is a range, its ends equal for a fixed time; ``lasting`` None means without end."""

    id: str
    effect: str
    operations: frozenset[str]
    keys: str = "*"
    hsm: str = ""
    application: str = ""
    probability: float = 1.0
    every: int = 1
    next: int | None = None
    after: float = 0.0
    lasting: float | None = None
    seconds: tuple[float, float] = (0.0, 0.0)
    retry_after: int | None = None
    status: int = 0
    moment: str = BEFORE
    claims: bool = False
    role: str = ""
    clock: str = ""
    source: Json = field(default_factory=dict, compare=False, repr=False)

    @property
    def standing(self) -> bool:
        return EFFECTS[self.effect].standing


@dataclass(frozen=True)
class Document:
    """Rules in their order, and the seed of their chances."""

    seed: int = 0
    rules: tuple[Rule, ...] = ()
