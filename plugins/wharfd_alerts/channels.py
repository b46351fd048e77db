"""How alerts leave the house: e-mail, one notice at a time, and the heartbeat that somebody else watches.

Webhooks are no channel here: alerts are events, and the webhooks plugin carries those.
"""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Any

import msgspec
import trio

from wharfd import Bury, Job, OutboundError, PluginContext, RetryAfter, WharfdError

from . import store
from .config import Mail, Settings
from .model import mail_text

LATE_SECONDS = 300.0  # rules that late mean that nobody evaluates any
_HEARTBEAT_SECONDS = 20.0


class NoticeRow(msgspec.Struct):
    """What the queue's handler gets of a notice."""

    id: str
    alert_id: str
    channel: str
    kind: str


async def send_notice(ctx: PluginContext[Settings], job: Job[NoticeRow]) -> Any:
    """Send one notice; the mail server gets the same Message-ID when it is tried again."""
    mail = ctx.settings.mail
    row = await store.read(ctx.db, job.row.alert_id)
    if mail is None or row is None:
        return Bury("there is no mail server in the configuration any more" if row else "the alert is gone")
    subject, text = mail_text(job.row.kind, dict(row))
    message = EmailMessage()
    message["Subject"] = subject
    message["From"], message["To"] = mail.sender, ", ".join(mail.recipients)
    message["Date"] = format_datetime(ctx.now())
    message["Message-ID"] = f"<{job.row.id}@{make_msgid(domain='wharfd').rpartition('@')[2]}"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    try:
        await trio.to_thread.run_sync(send_mail, mail, message, abandon_on_cancel=True)
    except smtplib.SMTPRecipientsRefused as error:
        ctx.metrics["notices_total"].labels("mail", "refused").inc()
        return Bury(f"the mail server takes none of the recipients: {_codes(error)}")
    except (OSError, smtplib.SMTPException) as error:
        ctx.metrics["notices_total"].labels("mail", "failed").inc()
        return RetryAfter(min(600.0, 10.0 * 2**job.attempt), f"{type(error).__name__}: {error}"[:300])
    ctx.metrics["notices_total"].labels("mail", "sent").inc()
    return None


def send_mail(mail: Mail, message: EmailMessage) -> None:
    """Send one message; blocks, so it belongs in a thread."""
    seconds = mail.timeout.total_seconds()
    context = ssl.create_default_context()
    server: smtplib.SMTP
    if mail.security == "tls":
        server = smtplib.SMTP_SSL(mail.host, mail.port, timeout=seconds, context=context)
    else:
        server = smtplib.SMTP(mail.host, mail.port, timeout=seconds)
    with server:
        if mail.security == "starttls":
            server.starttls(context=context)
        if mail.username is not None and mail.password is not None:
            server.login(mail.username, mail.password.reveal())
        server.send_message(message)


def _codes(error: smtplib.SMTPRecipientsRefused) -> str:
    return ", ".join(f"{address} {answer[0]}" for address, answer in error.recipients.items())


async def beat(ctx: PluginContext[Settings]) -> None:
    """Ask for the heartbeat URL, unless rules are late: then silence is the alarm.

    Raises `WharfdError` so that the schedule's history shows what went wrong; the URL is a secret.
    """
    url = ctx.settings.heartbeat_url
    if url is None:
        return
    late = await ctx.db.fetchval(store.LATE, LATE_SECONDS)
    if late:
        raise WharfdError(f"no heartbeat: {late} alert rules are overdue")
    try:
        answer = await ctx.http.request(
            "GET", url.reveal(), deadline=_HEARTBEAT_SECONDS, max_response_bytes=1024,
            policy=ctx.settings.network(),
        )  # fmt: skip
    except OutboundError as error:
        ctx.metrics["notices_total"].labels("heartbeat", "failed").inc()
        raise WharfdError(f"the heartbeat could not be sent: {error.kind}") from None
    good = 200 <= answer.status < 300
    ctx.metrics["notices_total"].labels("heartbeat", "sent" if good else "failed").inc()
    if not good:
        raise WharfdError(f"the heartbeat was answered with {answer.status}")
