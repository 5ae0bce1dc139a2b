"""What the service manager is told (sd_notify): readiness, status text, watchdog, reload. One datagram each."""

from __future__ import annotations

import os
import socket

from .sysfs import integer


class Notifier:
    """Tells systemd; without NOTIFY_SOCKET in the environment every call does nothing."""

    def __init__(self, address: str | None = None, watchdog_usec: int | None = None) -> None:
        self.address = os.environ.get("NOTIFY_SOCKET", "") if address is None else address
        if watchdog_usec is None:
            mine = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
            text = os.environ.get("WATCHDOG_USEC", "")
            watchdog_usec = max(0, integer(text) or 0) if mine else 0
        self.watchdog_ns = watchdog_usec * 1000

    def send(self, *lines: str) -> bool:
        """Send `lines` ("READY=1", "STATUS=…") in one datagram, never waiting; False where nobody listens."""
        if not self.address:
            return False
        path = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            ) as channel:
                channel.sendto("\n".join(lines).encode(), path)
        except OSError:
            return False
        return True
