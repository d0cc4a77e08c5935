"""Files that are written whole or not at all."""

from pathlib import Path
from uuid import uuid4


def write_whole(path: Path, text: str) -> None:
    """Put `text` into `path`; cut off, or done by two at once, it leaves a whole file."""
    part = path.with_name(f"{path.name}.{uuid4().hex}")
    try:
        part.write_text(text, "utf-8", newline="\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
