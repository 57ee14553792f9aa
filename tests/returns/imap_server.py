"""A real Dovecot on a free port, with one mailbox, its files in a folder of its own."""

from __future__ import annotations

import getpass
import grp
import imaplib
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.returns.imap import DONE, OTHER
from tests.delivery.certificates import server_certificate

USER, PASSWORD = "returns", "a-password-of-the-tests"


@dataclass(frozen=True)
class Dovecot:
    port: int
    authority: Path
    """The certificate that vouches for it."""

    @property
    def url(self) -> str:
        return f"imaps://{USER}:{PASSWORD}@localhost:{self.port}/INBOX"

    def put(self, *mails: bytes) -> None:
        with self._opened() as box:
            for mail in mails:
                assert box.append("INBOX", "", "", mail)[0] == "OK"

    def held(self, folder: str) -> list[bytes]:
        """Contents of a folder; none where there is no such folder."""
        with self._opened() as box:
            if box.select(f'"{folder}"', readonly=True)[0] != "OK":
                return []
            numbers = box.search(None, "ALL")[1][0].split()
            fetched = [box.fetch(number.decode(), "(BODY.PEEK[])")[1][0] for number in numbers]
        return [part[1] for part in fetched if isinstance(part, tuple)]

    def unread(self) -> int:
        with self._opened() as box:
            box.select("INBOX", readonly=True)
            return len(box.search(None, "UNSEEN")[1][0].split())

    def clear(self) -> None:
        with self._opened() as box:
            for folder in ("INBOX", DONE, OTHER):
                if box.select(f'"{folder}"')[0] == "OK" and box.search(None, "ALL")[1][0]:
                    box.store("1:*", "+FLAGS", r"(\Deleted)")
                    box.expunge()

    @contextmanager
    def _opened(self) -> Iterator[imaplib.IMAP4_SSL]:
        trust = ssl.create_default_context(cafile=str(self.authority))
        with imaplib.IMAP4_SSL("localhost", self.port, ssl_context=trust, timeout=10) as box:
            box.login(USER, PASSWORD)
            yield box


@contextmanager
def dovecot(folder: Path) -> Iterator[Dovecot]:
    """Skips the test where Dovecot is not installed."""
    program = shutil.which("dovecot", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("dovecot is not on this machine")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    (folder / "mail").mkdir()
    _, authority = server_certificate(folder, names=("localhost",))
    root = os.getuid() == 0
    owner = "nobody" if root else getpass.getuser()
    (folder / "passwords").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
    configuration = folder / "dovecot.conf"
    users = ("default_internal_user", "default_login_user") if not root else ()
    internal = "".join(f"{user} = {owner}\n" for user in users)
    internal += "" if root else f"default_internal_group = {grp.getgrgid(os.getgid()).gr_name}\n"
    configuration.write_text(f"""
        base_dir = {folder}/run
        log_path = {folder}/log
        protocols = imap
        listen = 127.0.0.1
        mail_location = maildir:{folder}/mail
        first_valid_uid = 1
        {internal}
        service imap-login {{
            chroot =
            inet_listener imap {{
                port = 0
            }}
            inet_listener imaps {{
                port = {port}
                ssl = yes
            }}
        }}
        service anvil {{
            chroot =
        }}
        ssl = required
        ssl_cert = <{folder}/server.pem
        ssl_key = <{folder}/server.pem
        passdb {{
            driver = passwd-file
            args = {folder}/passwords
        }}
        userdb {{
            driver = static
            args = uid={owner} gid={"nogroup" if root else os.getgid()} home={folder}/mail
        }}
    """)
    if root:
        shutil.chown(folder / "mail", owner)
    process = subprocess.Popen([program, "-F", "-c", str(configuration)])
    try:
        server = Dovecot(port, authority)
        _wait(server, folder / "log", process)
        yield server
    finally:
        process.terminate()
        process.wait(10)


def _wait(server: Dovecot, log: Path, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + 20
    while True:
        try:
            server.held("INBOX")
        except (OSError, imaplib.IMAP4.error):
            assert process.poll() is None, log.read_text() if log.exists() else "dovecot ended"
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.05)
        else:
            return
