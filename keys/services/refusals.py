"""How the services say no."""


class OperationRefused(Exception):
    """The operation makes no sense now; the text says why and what to do. Nothing was changed."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
