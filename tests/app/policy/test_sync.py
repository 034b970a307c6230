"""Policies from a Git repository: a commit as a whole, or nothing of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from app.errors import UserError
from app.policy.shipped import policies
from app.policy.store import Store
from app.policy.sync import Source, words
from models.policy.book import sign_policy
from tests.keys import RING, key_of
from tests.rules import rule
from topics.policies import Policy

pytestmark = pytest.mark.skipif(
    not (shutil.which("git") and shutil.which("ssh-keygen")),
    reason="no git or ssh-keygen here: apt-get install git openssh-client",
)
DENY = "default allow := false"


class Repository:
    """A repository in a folder, written by the real git."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "-q", "-b", "main", str(folder), here=False)

    def git(self, *words: str, here: bool = True) -> str:
        place = ["-C", str(self.folder)] if here else []
        env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        names = ["-c", "user.name=ada", "-c", "user.email=ada@localhost"]
        done = subprocess.run(["git", *place, *names, *words], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, *signing: str, **texts: str | None) -> str:
        """Write these policies (None: away with it) and commit; its id."""
        for name, text in texts.items():
            file = self.folder / f"{name}.rego"
            if text is None:
                file.unlink()
            else:
                file.write_text(text)
        self.git("add", "-A")
        self.git(*signing, "commit", "-q", "-m", "a change", *(["-S"] if signing else []))
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "policies")


def taken(store: Store, source: Source) -> list[Policy]:
    """Sync, and say to the store what would be published."""
    _, found = words(store, source)
    signed = [sign_policy(msgspec.structs.replace(word, by="ada"), key_of("ada")) for word in found]
    for word in signed:
        store.add(word, RING)
    return signed


def source(repository: Repository, **more: object) -> Source:
    return Source(str(repository.folder), **more)  # type: ignore[arg-type]


def test_a_commit_is_taken_and_what_is_gone_from_the_next_one_is_withdrawn(repository: Repository) -> None:
    store = Store(policies())
    first = repository.commit(one=rule(DENY, name="one"), two=rule(DENY, name="two"))
    assert [(w.name, w.version, w.commit) for w in taken(store, source(repository))] == [
        ("one", 1, first), ("two", 1, first),
    ]  # fmt: skip
    assert taken(store, source(repository)) == [], "nothing is new"
    repository.commit(one=rule(name="one"), two=None)
    taken(store, source(repository))
    assert (store.holds("one"), store.holds("two")) == (2, None)
    assert store.holds("storm") == 0, "what others have registered is left alone"


BAD = {
    "a text that is none": rule("allow := nosuch(1)", name="two"),
    "no answer to some input": rule("allow if input.system.storm", name="two"),
    "a name that another has": rule(DENY, name="one"),
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_a_bad_commit_is_refused_as_a_whole_and_the_old_one_still_holds(repository: Repository, text: str) -> None:
    store = Store(policies())
    repository.commit(one=rule(DENY, name="one"))
    taken(store, source(repository))
    before = store.source("one", 1)
    bad = repository.commit(one=rule(name="one"), two=text)
    with pytest.raises(UserError, match=f"commit {bad[:12]} is refused: (one|two).rego"):
        words(store, source(repository))
    assert (store.holds("one"), store.held("one")[1], store.holds("two")) == (1, before, None)


def test_worked_examples_of_the_repository_are_tried_too(repository: Repository) -> None:
    beside = repository.folder / "one_test.json"
    beside.write_text(json.dumps([{"name": "free", "input": {}, "effect": "allow"}]))
    repository.commit(one=rule(DENY, name="one"))
    with pytest.raises(UserError, match="free: deny"):
        words(Store(policies()), source(repository))


def test_a_history_that_was_rewritten_is_refused(repository: Repository) -> None:
    store = Store(policies())
    repository.commit(one=rule(name="one"))
    repository.commit(one=rule(DENY, name="one"))
    taken(store, source(repository))
    repository.git("reset", "-q", "--hard", "HEAD~1")
    with pytest.raises(UserError, match="does not build upon"):
        words(store, source(repository))


def test_a_folder_and_a_branch_may_be_named(repository: Repository) -> None:
    (repository.folder / "rego").mkdir()
    repository.commit(**{"rego/one": rule(name="one"), "other": rule(name="other")})
    repository.git("branch", "next")
    assert [w.name for w in words(Store(policies()), source(repository, folder="rego", branch="next"))[1]] == ["one"]
    with pytest.raises(UserError, match="it has 0 policies"):
        words(Store(policies()), source(repository, folder="elsewhere"))
    with pytest.raises(UserError, match="cannot be read"):
        words(Store(policies()), source(repository, branch="nosuch"))


def signer(folder: Path, name: str) -> list[str]:
    """The options with which git signs as somebody with an SSH key of the name."""
    key = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)], check=True)
    return ["-c", "gpg.format=ssh", "-c", f"user.signingkey={key}.pub"]


def test_where_it_is_asked_a_commit_must_be_signed_by_one_who_is_allowed_to(
    repository: Repository, tmp_path: Path
) -> None:
    ada, eve = signer(tmp_path, "ada"), signer(tmp_path, "eve")
    allowed = tmp_path / "allowed_signers"
    allowed.write_text(f"ada@localhost {(tmp_path / 'ada.pub').read_text()}")
    where = source(repository, signers=allowed)
    repository.commit(one=rule(name="one"))
    with pytest.raises(UserError, match="it is not signed"):
        words(Store(policies()), where)
    repository.commit(*eve, one=rule(DENY, name="one"))
    with pytest.raises(UserError, match="its signature is of nobody"):
        words(Store(policies()), where)
    good = repository.commit(*ada, one=rule("default allow := true", name="one"))
    assert [w.commit for w in words(Store(policies()), where)[1]] == [good]

    forged = repository.git("cat-file", "commit", good).replace("a change", "another one") + "\n"
    file = tmp_path / "forged"
    file.write_text(forged)
    repository.git("reset", "-q", "--hard", repository.git("hash-object", "-t", "commit", "-w", str(file)))
    with pytest.raises(UserError, match="its signature is of nobody"):
        words(Store(policies()), where)


def test_what_is_no_repository_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        words(Store(policies()), Source(str(tmp_path / "nowhere")))
