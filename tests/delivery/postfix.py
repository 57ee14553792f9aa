"""A Postfix of the tests' own: its configuration, queue, log and mailbox in a folder of theirs, on a free port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

MASTER = Path("/usr/lib/postfix/sbin/master")

MAIN_CF = """
compatibility_level = 3.6
myhostname = mx.example.org
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions =
smtpd_helo_required = yes
smtpd_reject_unlisted_recipient = no
strict_rfc821_envelopes = yes
strict_8bitmime = yes
smtputf8_enable = yes
virtual_mailbox_domains = example.org
virtual_mailbox_base = {folder}
virtual_mailbox_maps = static:mail/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_minimum_uid = 1
alias_maps =
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log/mail.log
maillog_file_prefixes = {folder}/log
"""

MASTER_CF = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
error unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
showq unix n - n - - showq
flush unix n - n 1000? 0 flush
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True)
class Postfix:
    """A running one."""

    port: int
    folder: Path

    @property
    def mails(self) -> list[bytes]:
        """What it has delivered into its mailbox."""
        return [path.read_bytes() for path in (self.folder / "mail" / "new").glob("*")]

    @property
    def log(self) -> list[str]:
        return (self.folder / "log" / "mail.log").read_text().splitlines()

    def delivered(self, count: int, seconds: float) -> list[bytes]:
        """Wait until ``count`` mails have been delivered, and return all there are."""
        deadline = time.monotonic() + seconds
        box = self.folder / "mail" / "new"
        while not box.is_dir() or sum(1 for _ in box.iterdir()) < count:
            assert time.monotonic() < deadline, "\n".join(self.log[-20:])
            time.sleep(0.05)
        return self.mails


@contextmanager
def running() -> Iterator[Postfix]:
    """Skips where there is no Postfix or no right to start one."""
    if not MASTER.exists():
        pytest.skip("postfix (Debian package postfix) is not on this machine")
    if os.geteuid() != 0:
        pytest.skip("starting a Postfix of our own needs root")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    # Not below pytest's folder: Postfix's own users must get in.
    folder = Path(tempfile.mkdtemp(prefix="paperround-postfix-"))
    folder.chmod(0o755)
    for name, owner in (("etc", "root"), ("queue", "root"), ("data", "postfix"), ("log", "root"), ("mail", "nobody")):
        (folder / name).mkdir()
        shutil.chown(folder / name, owner)
    (folder / "etc" / "main.cf").write_text(MAIN_CF.format(folder=folder))
    (folder / "etc" / "master.cf").write_text(MASTER_CF.format(port=port))
    for name in (
        "active",
        "bounce",
        "corrupt",
        "defer",
        "deferred",
        "flush",
        "hold",
        "incoming",
        "private",
        "saved",
        "trace",
    ):
        (folder / "queue" / name).mkdir(mode=0o700)
        shutil.chown(folder / "queue" / name, "postfix")
    (folder / "queue" / "pid").mkdir()
    for name in ("public", "maildrop"):
        (folder / "queue" / name).mkdir(mode=0o730)
        shutil.chown(folder / "queue" / name, "postfix", "postdrop")
        (folder / "queue" / name).chmod(0o730)
    child = subprocess.Popen([MASTER, "-c", folder / "etc", "-d"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        with socket.socket() as probe:
            while probe.connect_ex(("127.0.0.1", port)):
                assert child.poll() is None, (folder / "log" / "mail.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield Postfix(port, folder)
    finally:
        child.terminate()
        child.wait(20)
        shutil.rmtree(folder, ignore_errors=True)
