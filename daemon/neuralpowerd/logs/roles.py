"""What a client may do. Each role may do what those before it may."""

from __future__ import annotations

from enum import IntEnum


class Role(IntEnum):
    """`CONTROL` has the local sockets, whose files say who may open them; a key has the role it was allowed with."""

    SUBSCRIBE = 1
    SUBMIT = 2
    CONTROL = 3

    @property
    def word(self) -> str:
        """As in the allow-list and on the command line."""
        return self.name.lower()


ROLES = {role.word: role for role in Role}
NEEDED = {"mark": Role.SUBMIT}
"""What a question needs, where that is more than to subscribe."""
