"""Where a credential comes from when nobody hands one over: the CI job that we run in, or a person at a browser.

It knows nothing of what will be signed.
"""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from skillwarrant_attest.credential import AUDIENCE, Credential
from skillwarrant_attest.foreign import words
from skillwarrant_attest.instance import Instance
from skillwarrant_attest.timing import Deadline, Timeouts
from skillwarrant_format.errors import SigningRefused, SkillwarrantError, TrustError, Unavailable, UsageError
from skillwarrant_format.waiting import within

if TYPE_CHECKING:
    from sigstore.oidc import Issuer

__all__ = ["ambient_credential", "browser_credential"]

T = TypeVar("T")
_PERMISSION: Final = "In GitHub Actions, give the job `permissions: id-token: write`."
_OTHERWISE: Final = "Name a file that holds an identity token, or sign in with a browser."


def ambient_credential(*, timeouts: Timeouts | None = None) -> Credential:
    """The identity of the CI job that this process runs in: GitHub, GitLab, CircleCI, Buildkite, Google Cloud.

    Raises:
        UsageError: this is no such job, or one that may not ask for an identity.
        SigningRefused: the CI's token service said no, and what it said.
        Unavailable: it gave no answer.
    """
    from id import GitHubOidcPermissionCredentialError, IdentityError, detect_credential

    seconds = (timeouts or Timeouts()).answer
    try:
        token = within(seconds, lambda: detect_credential(AUDIENCE))
    except TimeoutError:
        raise _unavailable("the CI's identity token", f"no answer within {seconds:.3g} seconds") from None
    except GitHubOidcPermissionCredentialError as error:
        raise UsageError("this CI job may not ask for an identity", found=str(error), fix=_PERMISSION) from None
    except IdentityError as error:
        raise _no_token(error) from error
    except Exception as error:  # the detectors leak what urllib3, subprocess and JSON raise
        raise _unavailable("the CI's identity token", words(error)) from error
    if token is None:
        raise UsageError("this is no CI job that has an identity", fix=f"{_PERMISSION} {_OTHERWISE}")
    return Credential.from_token(token, source="the CI job's own identity")


def browser_credential(trust_config: Path | None = None, *, timeouts: Timeouts | None = None) -> Credential:
    """The identity of the person at this machine, through the instance's login page.

    Without a browser, the page's address is printed and the code that it shows is asked for on the terminal.

    Raises:
        UsageError: there is neither a browser nor a terminal.
        SigningRefused: the identity provider said no.
        Unavailable: it gave no answer, or the person did not sign in within `timeouts.login` seconds.
        TrustError: the trust config cannot be used, or names no identity provider.
    """
    deadline = Deadline(timeouts or Timeouts())
    url = _oidc_url(Instance.load(trust_config, deadline))
    issuer = _asking(url, lambda: within(deadline.timeouts.answer, lambda: _issuer(url)))
    if _has_browser():
        token = _asking(url, lambda: within(deadline.timeouts.login, lambda: str(issuer.identity_token())))
    elif sys.stdin.isatty():
        # On this thread, with no limit: it waits at the keyboard, where Ctrl-C is.
        token = _asking(url, lambda: str(issuer.identity_token(force_oob=True)))
    else:
        raise UsageError(
            "nobody can sign in here", expected="a browser, or a terminal", found="neither", fix=_OTHERWISE
        )
    return Credential.from_token(token, source=f"a login at {url}")


def _oidc_url(instance: Instance) -> str:
    from sigstore.errors import Error

    try:
        return str(instance.signing_config.get_oidc_url())
    except Error as error:
        raise TrustError(f"{instance.name} names no identity provider", found=str(error), fix=_OTHERWISE) from None


def _issuer(url: str) -> Issuer:
    from sigstore.oidc import Issuer

    return Issuer(url)


def _asking(url: str, ask: Callable[[], T]) -> T:
    """Turn what sigstore's login raises into ours."""
    from requests import HTTPError
    from sigstore.oidc import IdentityError

    what = f"the identity provider ({url})"
    try:
        return ask()
    except TimeoutError:
        raise _unavailable(what, "nobody signed in, or no answer, in time") from None
    except SkillwarrantError:
        raise
    except IdentityError as error:
        cause = error.__cause__
        text = cause.response.text if isinstance(cause, HTTPError) and cause.response is not None else ""
        raise SigningRefused(f"{what} refused", found=f"{error} {text}".strip()) from error
    except Exception as error:  # sigstore leaks what requests, pydantic and http.server raise
        raise _unavailable(what, words(error.__cause__ or error)) from error


def _has_browser() -> bool:
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def _no_token(error: Exception) -> SkillwarrantError:
    """`id` has one exception for "said no", "was not reached" and "nothing is set up"; here they are told apart."""
    behind = error.__cause__ or error.__context__
    if "(code=4" in str(error):
        return SigningRefused("the CI's token service refused", found=str(error))
    if behind is not None or "(code=" in str(error):
        return _unavailable("the CI's identity token", f"{error}: {behind}" if behind else str(error))
    return UsageError("this CI job is not set up to sign", found=str(error), fix=_OTHERWISE)


def _unavailable(what: str, found: str) -> Unavailable:
    return Unavailable(f"{what} cannot be had", found=found)
