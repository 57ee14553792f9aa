"""Pin the images that others publish: each tag in Dockerfile and docker-compose.yml gets the digest it has today.

    make pin-images

Asks the registries by ``docker buildx imagetools inspect``, so it needs Docker and a network. Pinned ones are asked
again by their tag: run it to take in what was mended since. All digests are known before a file is written. Look at
the difference, build, test, commit.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
FILES: Final = ("Dockerfile", "docker-compose.yml")
_IMAGE: Final = re.compile(r"(?m)^(FROM|\s+image:) (?!paperround)([\w./-]+:[\w.-]+)(@sha256:[0-9a-f]{64})?")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


class Unresolved(Exception):
    """A tag whose digest cannot be had. One line."""


def digest(image: str) -> str:
    """Of the image of all platforms that the tag names now."""
    command = ["docker", "buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}", image]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own words)
    except OSError as error:
        raise Unresolved(f"docker cannot be run ({error.strerror}): install it, with buildx") from None
    found = asked.stdout.strip()
    if asked.returncode or not _DIGEST.fullmatch(found):
        last = (asked.stderr.strip().splitlines() or ["it gives no digest"])[-1]
        raise Unresolved(f"{image} cannot be resolved: {last}")
    return found


def main(root: Path = ROOT) -> None:
    texts = {root / name: (root / name).read_text(encoding="utf-8") for name in FILES}
    images = sorted({found[2] for text in texts.values() for found in _IMAGE.finditer(text)})
    try:
        digests = {image: digest(image) for image in images}
    except Unresolved as error:
        sys.exit(str(error))
    for path, text in texts.items():
        path.write_text(_IMAGE.sub(lambda found: f"{found[1]} {found[2]}@{digests[found[2]]}", text), encoding="utf-8")
    for image in images:
        sys.stdout.write(f"{image}@{digests[image]}\n")


if __name__ == "__main__":
    main()
