"""MLflow's own webhooks: a server tells an address of what happens in its registry.

MLflow has events for what changes in the registry: a version, an alias, a tag.
A refusal and drift change nothing there. So every decision is written to a tag
of the champion's version as well, and to set a tag is an event.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import mlflow
from mlflow.entities.webhook import Webhook as MlflowWebhook
from mlflow.entities.webhook import WebhookEvent

from ratchet import tracking
from ratchet.errors import StoreError
from ratchet.registry import champion
from ratchet.settings import Event, Settings

ALIAS_MOVED = "model_version_alias.created"
"""MLflow's event of an alias that was set, by whomever."""

TAG_SET = "model_version_tag.set"
"""MLflow's event of a tag that was set on a version."""

KEY = "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"
"""Variable of the server with the key that webhooks' secrets are kept under."""

# What each of our events is among MLflow's.
_EVENTS: Mapping[Event, tuple[str, ...]] = {
    Event.PROMOTED: (ALIAS_MOVED, TAG_SET),
    Event.ROLLED_BACK: (ALIAS_MOVED, TAG_SET),
    Event.REFUSED: (TAG_SET,),
    Event.DRIFT: (TAG_SET,),
}
# What a server may lack, by a sign of it in its words.
_WAYS_OUT = (
    ("URL scheme", "Start the server with MLFLOW_WEBHOOK_ALLOWED_SCHEMES=http,https to allow it."),
    (
        "IP address",
        "Start the server with MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true to allow addresses inside"
        " of a network.",
    ),
    ("InvalidToken", f"Start the server with the {KEY} that it had when the secret was given."),
)
# A tag is told to people as well, beside the version; the evidence is on the decision's run.
_MAX_TEXT = 2000


@dataclass(frozen=True)
class Webhook:
    """An address that the server tells."""

    id: str
    """How MLflow calls it."""
    name: str
    """Its name for people."""
    url: str
    """Where the server posts to."""
    events: tuple[str, ...]
    """MLflow's events that it is told of, such as ``model_version_tag.set``."""
    about: str
    """What it is for, in a line."""
    active: bool
    """Whether it is told anything now."""
    since: str
    """When it was registered, in UTC."""


@dataclass(frozen=True)
class Answer:
    """What came of a test message."""

    webhook: Webhook
    """To whom it went."""
    event: str
    """MLflow's event that it was an example of."""
    delivered: bool
    """Whether the address took it."""
    status: int | None
    """HTTP status of its answer; None where none came."""
    told: str
    """Its answer, or why none came."""


def tag_of(event: Event) -> str:
    """Name the tag of a version that holds the last decision of a kind, as JSON."""
    return f"ratchet.{event.value}"


def add(settings: Settings, url: str, events: Sequence[Event], secret: str | None) -> Webhook:
    """Have the server tell an address of decisions.

    Parameters
    ----------
    settings : Settings
        Names the registered model.
    url : str
        Where to post to.
    events : sequence of Event
        What to tell of.
    secret : str or None
        Key of the signature that each message gets; None signs none.

    Raises
    ------
    StoreError
        If the store is no server, or it refuses the address.
    """
    _require_server()
    wanted = list(dict.fromkeys(name for event in events for name in _EVENTS[event]))
    names = ", ".join(dict.fromkeys(event.value for event in events))
    with _told():
        made = mlflow.MlflowClient().create_webhook(
            name=f"ratchet-{settings.model_name}"[:63].rstrip(".-_"),
            url=url,
            events=[_event(name) for name in wanted],
            description=f"{names} of {settings.model_name}",
            secret=secret,
        )
    return _webhook(made)


def listed() -> tuple[Webhook, ...]:
    """List all webhooks of the server, also those that others have registered.

    Raises
    ------
    StoreError
        If the store is no server, or can't be asked.
    """
    _require_server()
    return tuple(_all())


def test(wanted: str) -> tuple[Answer, ...]:
    """Have the server send a webhook an example of each of its events.

    Parameters
    ----------
    wanted : str
        Id of a webhook, or as much of its beginning as no other has.

    Raises
    ------
    StoreError
        If there is none, or the server can't be asked.
    """
    webhook = _find(wanted)
    answers = []
    for event in webhook.events:
        with _told():
            found = mlflow.MlflowClient().test_webhook(webhook.id, _event(event))
        said = found.error_message or found.response_body or ""
        told = " ".join(str(said).split())
        answers.append(
            Answer(webhook, event, bool(found.success), found.response_status, told[:_MAX_TEXT])
        )
    return tuple(answers)


def remove(wanted: str) -> Webhook:
    """Have the server tell an address nothing any more.

    Parameters
    ----------
    wanted : str
        Id of a webhook, or as much of its beginning as no other has.

    Raises
    ------
    StoreError
        If there is none, or the server can't be asked.
    """
    webhook = _find(wanted)
    with _told():
        mlflow.MlflowClient().delete_webhook(webhook.id)
    return webhook


def mark(settings: Settings, event: Event, message: Mapping[str, Any]) -> None:
    """Write a decision to the champion's version, where a server takes that for an event.

    Only a server has webhooks, so nothing is written to another store. Where
    there is no champion there is no version to write to.

    Parameters
    ----------
    settings : Settings
        Names the registered model and its alias.
    event : Event
        What has happened.
    message : mapping
        What is to be told of it, as plain values. What is nested is left out.

    Raises
    ------
    StoreError
        If the server can't be asked.
    """
    if not _is_server():
        return
    reigning = champion.current(settings)
    if reigning is None:
        return
    plain = {
        name: each[:_MAX_TEXT] if isinstance(each, str) else each
        for name, each in message.items()
        if not isinstance(each, dict | list | tuple)
    }
    text = json.dumps(plain, ensure_ascii=False, sort_keys=True)
    with tracking.translated():
        mlflow.MlflowClient().set_model_version_tag(
            reigning.model, str(reigning.number), tag_of(event), text
        )


def _find(wanted: str) -> Webhook:
    _require_server()
    every = tuple(_all())
    found = [each for each in every if wanted and each.id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(each.id for each in every) or "none"
    what = f"{len(found)} webhooks begin with" if found else "No webhook is called"
    raise StoreError(f"{what} {wanted!r}. Registered: {known}.")


def _all() -> Iterator[Webhook]:
    client, token = mlflow.MlflowClient(), None
    while True:
        with _told():
            page = client.list_webhooks(page_token=token)
        yield from map(_webhook, page)
        token = page.token
        if not token:
            return


def _event(name: str) -> WebhookEvent:
    entity, _, action = name.partition(".")
    return WebhookEvent(entity, action)


def _webhook(found: MlflowWebhook) -> Webhook:
    since = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC)
    return Webhook(
        id=found.webhook_id,
        name=found.name,
        url=tracking.masked(found.url),
        events=tuple(str(event) for event in found.events),
        about=found.description or "",
        active=found.status.is_active(),
        since=since.isoformat(timespec="seconds"),
    )


def _is_server() -> bool:
    return str(mlflow.get_registry_uri()).startswith(("http://", "https://"))


def _require_server() -> None:
    if not _is_server():
        raise StoreError(
            f"{tracking.masked(str(mlflow.get_registry_uri()))} is no server, and only a server"
            " sends webhooks. Set MLFLOW_TRACKING_URI or tracking.uri to an MLflow server, or"
            " name a command of your own in hooks."
        )


@contextmanager
def _told() -> Iterator[None]:
    """Say what is wrong, and what of the server's variables mends it."""
    try:
        with tracking.translated():
            yield
    except StoreError as error:
        way_out = next((told for sign, told in _WAYS_OUT if sign in str(error)), "")
        raise StoreError(f"{error} {way_out}".rstrip()) from error
