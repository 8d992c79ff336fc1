"""What must not be told as it is: secrets, files of secrets, and signs that a terminal obeys."""

import re
from pathlib import PurePath
from typing import Any

SECRET_FILES = (
    *(".env", ".env.*", ".envrc"),
    *(".netrc", "_netrc", ".pgpass", ".pypirc", ".npmrc", ".htpasswd", ".git-credentials"),
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.kdbx", "id_rsa", "id_dsa", "id_ecdsa"),
    *("id_ed25519", "credentials", "*.secret", "config.local"),
    *("service-account*.json", "service_account*.json"),
    # By their endings, as a module may be called secrets.py.
    *(
        f"{name}.{ending}"
        for name in ("credentials", "secrets")
        for ending in ("json", "yaml", "yml", "toml", "ini", "cfg", "txt")
    ),
)
"""Patterns of the names of files that hold secrets, wherever they lie."""

# A user before the host: with a password, in which SQLAlchemy takes a slash, or by himself. A
# number and a slash after the colon are a port; dvc://REPO@COMMIT names no user.
_USER = re.compile(r"(?<!dvc)://(?:[^\s/@:'\"]*:(?!\d+/|//)[^\s@'\"]*|[^\s/]*)@")
# Whoever has such an address may read what it names, for some minutes.
_SIGNED = re.compile(
    r"(X-Amz-(?:Credential|Signature|Security-Token)|AWSAccessKeyId|Signature)=[^&\s'\"]+"
)
_ASKED = re.compile(
    r"(?i)([?&;](?:[\w.-]*(?:token|passw(?:or)?d|pwd|secret|api_?key|signature)(?:_?key)?|sig|key))="
    r"[^&;\s'\"]+"
)
# Addresses that are a secret in whole: whoever has one may write to the channel.
_CHANNEL = re.compile(
    r"(https://(?:hooks\.slack\.com|discord(?:app)?\.com/api/webhooks|[\w.-]+\.webhook\.office\.com)"
    r"/)[^\s'\"]+"
)
_HEADER = re.compile(r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?(?:bearer|basic|token)\s+)[^\s'\"]+")
_KEYS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|(?i:aws_secret_access_key)['\"]?\s*[:=]\s*['\"]?[\w/+=]{20,}"
    r"|\bgh[pousr]_\w{36}|\bgithub_pat_\w{50}|\bglpat-[\w-]{20}|\bxox[abeprs]-[\w-]{10}"
    r"|\bAIza[\w-]{35}|\bhf_[A-Za-z]{30}|\bsk-[A-Za-z0-9_-]{20}|\bpypi-[\w-]{50}"
)
# All but tabs and ends of lines; the last ones turn the order of what follows around.
_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# Signs by which a program puts a password in, so that none is written there.
_WRITTEN_OUT = re.compile(r"://[^\s/@:'\"{}$<>]*:(?!\d+/|//|\*+@)[^\s@'\"{}$<>]+@|://\w{20,}@")


def masked(text: str) -> str:
    """Hide what is secret in the addresses of a text.

    That is the user and password of every address, what signs one of an object
    store, an argument whose name says that it is a secret, an address that is a
    secret in whole, such as that of a channel of Slack, and the value of a
    header that logs somebody in.

    Examples
    --------
    >>> masked("postgresql://me:secret@host/runs")
    'postgresql://***@host/runs'
    >>> masked("404 for https://s3.host/a?X-Amz-Credential=me&X-Amz-Signature=0f1e2d")
    '404 for https://s3.host/a?X-Amz-Credential=***&X-Amz-Signature=***'
    >>> masked("https://host/told?channel=a&token=0f1e2d")
    'https://host/told?channel=a&token=***'
    """
    text = _USER.sub("://***@", text)
    text = _CHANNEL.sub(r"\1***", text)
    text = _SIGNED.sub(r"\1=***", _ASKED.sub(r"\1=***", text))
    return _HEADER.sub(r"\1***", text)


def masked_in(value: Any) -> Any:
    """Hide what is secret in every text of nested lists and mappings.

    Examples
    --------
    >>> masked_in({"promoted": ["curl", "https://me:secret@host/told"], "seconds": 60.0})
    {'promoted': ['curl', 'https://***@host/told'], 'seconds': 60.0}
    """
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {name: masked_in(each) for name, each in value.items()}
    return [masked_in(each) for each in value] if isinstance(value, list) else value


def harmless(text: str) -> str:
    r"""Write signs that a terminal obeys as escapes, wherever a name or a value has them.

    Examples
    --------
    >>> harmless("no column 'a\x1b[2J'")
    "no column 'a\\x1b[2J'"
    """
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def is_secret_file(name: str) -> bool:
    """Tell whether a file holds secrets, by its name.

    Examples
    --------
    >>> is_secret_file("deploy/.env.local"), is_secret_file("src/environment.py")
    (True, False)
    """
    path = PurePath(name.lower())
    return any(path.match(pattern) for pattern in SECRET_FILES)


def holds_secret(text: str) -> bool:
    """Tell whether a text has a key or a password in it that can be known by its form.

    Examples
    --------
    >>> holds_secret("uri: postgresql://me:hunter2@host/runs")
    True
    >>> holds_secret("uri: postgresql://{user}:{password}@host/runs")
    False
    """
    return bool(_KEYS.search(text) or _WRITTEN_OUT.search(text) or _CHANNEL.search(text))
