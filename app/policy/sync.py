"""Policies from a Git repository: one commit is taken as a whole, or refused as a whole.

A commit is refused when one of its policies does not pass its trial, when no allowed signer has signed it (where
signers are set), or when it does not descend from the commit that was taken before. A refused commit changes nothing.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from app.errors import UserError
from app.policy.store import Store
from app.policy.trial import Case, tried
from topics.policies import Policy

LARGEST: Final = 100_000  # bytes of one file
MOST: Final = 500  # policies of one commit


@dataclass(frozen=True)
class Source:
    """The repository that policies are taken from."""

    url: str
    branch: str = ""  # empty: the branch of HEAD
    folder: str = ""  # empty: the whole repository
    signers: Path | None = None  # OpenSSH's file of allowed signers; None: commits need no signature

    @property
    def place(self) -> str:
        """The address without its password: it is published with each policy."""
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if parts.password else self.url


@dataclass(frozen=True)
class Commit:
    """The policies of a commit: texts and worked examples, by path."""

    id: str
    subject: str
    texts: dict[str, tuple[str, tuple[Case, ...]]]


def words(store: Store, source: Source) -> tuple[Commit, list[Policy]]:
    """The unsigned records that bring the store to the newest commit: new texts, and withdrawals of removed policies.

    Raises:
        UserError: the repository cannot be read, or the commit is refused.
    """
    comes = f"from {source.place}" + (f" {source.folder}" if source.folder else "")
    mine = {
        name: held for name in store.versions for version in [store.holds(name)]
        if version and (held := store.versions[name][version]).commit and held.comment == comes
    }  # fmt: skip
    newest = max(mine.values(), key=lambda word: word.ts, default=None)
    with tempfile.TemporaryDirectory() as place:
        commit = _fetch(source, Path(place), newest.commit if newest else "")
    names, found = set[str](), list[Policy]()
    for path, (text, cases) in commit.texts.items():
        trial = tried(text, cases)
        if not trial.good:
            raise _refused(commit.id, f"{path}: {trial.failed[0]}")
        if trial.policy in names:
            raise _refused(commit.id, f"{path}: there are two policies called {trial.policy}")
        names.add(trial.policy)
        word = store.next(text, comes, commit.id)
        found += [word] if word else []
    for name in sorted(mine.keys() - names):
        found += [msgspec.structs.replace(gone, commit=commit.id) for gone in store.none(name, comes)]
    return commit, found


def _fetch(source: Source, place: Path, before: str) -> Commit:
    try:
        from dulwich import porcelain
        from dulwich.client import HTTPProxyUnauthorized, HTTPUnauthorized
        from dulwich.errors import GitProtocolError, NotGitRepository
        from dulwich.graph import can_fast_forward
    except ImportError as error:
        raise UserError(f"Git needs a package that is not installed ({error.name})",
                        "Install opsloop with the extra git") from None  # fmt: skip
    try:
        repository = porcelain.clone(
            source.url, str(place / "clone"), bare=True, errstream=BytesIO(), branch=source.branch or None
        )
        with repository:
            head = repository.head()
            commit = repository[head]
            identity = head.decode()
            if source.signers is not None:
                _signed(commit, source.signers, identity)
            if before and not (before.encode() in repository and can_fast_forward(repository, before.encode(), head)):
                raise _refused(identity, f"it does not build upon {before[:12]}, which was taken before")
            subject = commit.message.decode(errors="replace").split("\n", 1)[0]
            return Commit(identity, subject, _texts(repository, commit, source.folder, identity))
    except (HTTPUnauthorized, HTTPProxyUnauthorized):
        raise UserError(f"{source.place} lets nobody in with these words", "Write https://NAME:TOKEN@… as the address",
                        exit_code=1) from None  # fmt: skip
    except (NotGitRepository, GitProtocolError, KeyError, OSError, ValueError) as error:
        where = f"{source.place}{f' branch {source.branch}' if source.branch else ''}"
        why = f"{type(error).__name__}: {error}".replace(source.url, source.place)
        raise UserError(f"{where} cannot be read ({why})", "Check the address and --branch", exit_code=1) from None


def _signed(commit: Any, signers: Path, identity: str) -> None:
    """Return when an allowed signer has signed the commit with an SSH key; else raise UserError."""
    from dulwich.signature import BadSignature, SSHSigSignatureVendor, UntrustedSignature

    payload, signature, kind = commit.extract_signature()
    if signature is None:
        raise _refused(identity, "it is not signed")
    if kind != b"ssh":
        raise _refused(identity, "it is not signed with an SSH key")
    try:
        SSHSigSignatureVendor(allowed_signers_file=str(signers)).verify(payload, signature)
    except (BadSignature, UntrustedSignature, ValueError) as error:
        raise _refused(identity, f"its signature is of nobody in {signers} ({error})") from None
    except OSError as error:
        raise UserError(
            f"{signers} cannot be read ({error.strerror or error})", "Give a file of allowed signers"
        ) from None


def _texts(repository: Any, commit: Any, folder: str, identity: str) -> dict[str, tuple[str, tuple[Case, ...]]]:
    from dulwich.object_store import iter_tree_contents

    inside = PurePosixPath(folder) if folder else PurePosixPath()
    blobs: dict[PurePosixPath, Any] = {}
    for entry in iter_tree_contents(repository.object_store, commit.tree):
        path = PurePosixPath(entry.path.decode(errors="replace"))
        if path.is_relative_to(inside) and path.suffix in (".rego", ".json") and entry.mode & 0o170000 == 0o100000:
            blobs[path] = entry.sha
    texts = {}
    for path in sorted(p for p in blobs if p.suffix == ".rego" and not p.stem.endswith("_test")):
        beside = path.with_name(f"{path.stem}_test.json")
        examples = _read(repository, blobs[beside], beside, identity) if beside in blobs else b"[]"
        try:
            cases = msgspec.json.decode(examples, type=tuple[Case, ...])
            texts[str(path)] = _read(repository, blobs[path], path, identity).decode(), cases
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _refused(identity, f"{path}: {error}") from None
    if not 0 < len(texts) <= MOST:
        raise _refused(identity, f"it has {len(texts)} policies; 1 to {MOST} are taken")
    return texts


def _read(repository: Any, sha: Any, path: PurePosixPath, identity: str) -> bytes:
    content: bytes = repository[sha].data
    if len(content) > LARGEST:
        raise _refused(identity, f"{path} is larger than {LARGEST} bytes")
    return content


def _refused(commit: str, why: str) -> UserError:
    return UserError(f"commit {commit[:12]} is refused: {why}", "What held before still holds", exit_code=1)
