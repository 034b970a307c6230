"""Policies from a Git repository: a commit as a whole, or nothing of it."""

from __future__ import annotations

import base64
import gc
import json
import shutil
import subprocess
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import CGIHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.errors import UserError
from app.policy.shipped import policies
from app.policy.store import Store
from app.policy.sync import Source, words
from models.versions import sign_version
from tests.keys import RING, key_of
from tests.rules import Repository, rule
from topics.policies import Policy

pytestmark = pytest.mark.skipif(
    not (shutil.which("git") and shutil.which("ssh-keygen")),
    reason="no git or ssh-keygen here: apt-get install git openssh-client",
)
DENY = "default allow := false"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "policies")


def taken(store: Store, source: Source) -> list[Policy]:
    """Sync, and say to the store what would be published."""
    _, found = words(store, source)
    signed = [sign_version(msgspec.structs.replace(word, by="ada"), key_of("ada")) for word in found]
    for word in signed:
        store.add(word, RING, word.ts)
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


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which git's own HTTP server offers the repositories of a folder to who knows the password."""
    (folder / "cgi-bin").mkdir()
    program = folder / "cgi-bin" / "git"
    settings = f"GIT_PROJECT_ROOT={folder} GIT_HTTP_EXPORT_ALL=1"
    program.write_text(f"#!/bin/sh\nexec env {settings} {shutil.which('git')} http-backend\n")
    program.chmod(0o755)
    word = "Basic " + base64.b64encode(b"ada:secret").decode()

    class Handler(CGIHTTPRequestHandler):
        have_fork = False  # threads and fork do not go together

        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def parse_request(self) -> bool:
            if not super().parse_request():
                return False
            if self.headers.get("Authorization") == word:
                return True
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False

        def translate_path(self, path: str) -> str:  # it looks for programs in the process's own folder otherwise
            return str(folder / path.lstrip("/"))

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}/cgi-bin/git"
        server.shutdown()


def test_a_repository_is_read_over_http_and_no_password_is_published(repository: Repository, tmp_path: Path) -> None:
    first = repository.commit(one=rule(DENY, name="one"))
    store = Store(policies())
    with served(tmp_path) as place, sockets_left_to_the_collector():
        there = Source(f"http://ada:secret@{place}/policies/.git")
        (word,) = taken(store, there)
        assert (word.commit, word.comment) == (first, f"from http://{place}/policies/.git")
        second = repository.commit(one=rule(name="one"))
        assert [w.commit for w in taken(store, there)] == [second], "what was taken before is found again"
        assert "lets nobody in" in refusal(store, f"http://ada:guessed@{place}/policies/.git")
        assert "cannot be read" in refusal(store, f"http://ada:secret@{place}/nosuch/.git")


def refusal(store: Store, url: str) -> str:
    """Why a repository cannot be read, in words without a password."""
    with pytest.raises(UserError) as refused:
        words(store, Source(url))
    said = str(refused.value)
    assert "guessed" not in said
    assert "secret" not in said
    return said


@contextmanager
def sockets_left_to_the_collector() -> Iterator[None]:
    """dulwich closes no pool of connections; a process that syncs ends after it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def test_a_repository_is_read_over_ssh(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client runs what stands for ssh; it does here what a server would do at its end."""
    ssh = tmp_path / "ssh"
    ssh.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\nfor word; do :; done\nexec sh -c "$word"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("GIT_SSH", str(ssh))
    first = repository.commit(one=rule(DENY, name="one"))
    assert [w.commit for w in taken(Store(policies()), Source(f"ssh://git@elsewhere{repository.folder}"))] == [first]
    assert "git@elsewhere" in (tmp_path / "asked").read_text()


def test_what_is_no_repository_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        words(Store(policies()), Source(str(tmp_path / "nowhere")))
