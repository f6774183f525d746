"""A C folder that is there already: its description, and whether its files are what was written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seenn_deploy.errors import ProgramError
from seenn_deploy.io import folders
from seenn_deploy.targets.base import Outline
from seenn_deploy.targets.c.layout import Grid
from seenn_deploy.targets.c.write import FORMAT, NETWORK, VERSION


@dataclass(frozen=True)
class Bundle:
    """A C folder.

    Parameters
    ----------
    folder : Path
        Absolute.
    spec : dict
        Its network.json.
    """

    folder: Path
    spec: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Bundle:
        """Read a folder that the C target wrote.

        Raises
        ------
        ProgramError
            When it is none, of another version, or a file was changed.
        """
        path = folder / NETWORK
        try:
            spec = json.loads(path.read_text(encoding="utf-8"))
            found = spec["format"], spec["version"]
            spec[folders.CHECKSUM]
        except OSError:
            raise ProgramError(
                f"{folder}: no C folder here; make one with seenn compile --precision int8 "
                "--target c"
            ) from None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ProgramError(
                f"{path}: is not what was written ({type(error).__name__}: {error}); renew it with "
                "--target c"
            ) from None
        if found != (FORMAT, VERSION):
            raise ProgramError(
                f"{path}: format {found[0]!r} version {found[1]}, this is {FORMAT!r} version "
                f"{VERSION}; renew it with --target c"
            )
        folders.check_manifest(path, spec, edited=False)
        for name, digest in spec["sha256"].items():
            if not (folder / name).is_file():
                raise ProgramError(f"{folder / name}: is missing; renew it with --target c")
            if folders.sha256(folder / name) != digest:
                raise ProgramError(
                    f"{folder / name}: its checksum differs from {NETWORK}, it was changed; renew "
                    "it with --target c"
                )
        return cls(folder.absolute(), spec)

    @property
    def made_for(self) -> dict[str, Any]:
        """What the folder was made for; see ``Program.made_for``."""
        found: dict[str, Any] = self.spec["made_for"]
        return found

    def macro(self, name: str) -> str:
        """A macro's name in the folder's files."""
        return f"{self.spec['prefix'].upper()}_{name}"

    @property
    def outline(self) -> Outline:
        """The sizes of the arrays that come back."""
        shapes = {p["name"]: tuple(p["shape"]) for p in self.spec["populations"]}
        sizes = self.spec["T"], tuple(self.spec["classes"]), shapes
        return Outline(*sizes, integers=True, choices=self.spec.get("choices", 0))

    @property
    def grids(self) -> dict[int, tuple[str, Grid]]:
        """Name and layout of each population, by its number in the C files."""
        return {p["layer"]: (p["name"], Grid(tuple(p["shape"]))) for p in self.spec["populations"]}
