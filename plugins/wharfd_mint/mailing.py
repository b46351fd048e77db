"""Mail to a buyer whose token has arrived, over SMTP in a thread."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate

import msgspec
import trio

from wharfd import Job, PluginContext

from .config import Mail, Settings
from .store import buyers
from .store.buyers import Buyer

_SECONDS = 30


class SendReceipt(msgspec.Struct, frozen=True):
    """The mail for one license."""

    license_id: str


async def send_receipt(ctx: PluginContext[Settings], args: SendReceipt, job: Job[object]) -> None:
    """Send the mail and note it. A crash between the two sends it again, with the same Message-ID."""
    settings = ctx.settings.mail
    buyer = await buyers.of_license(ctx.db, args.license_id)
    if settings is None or buyer is None or not buyer.email or buyer.receipt_sent:
        return
    message = compose(settings, buyer)
    await trio.to_thread.run_sync(_send, settings, message, abandon_on_cancel=True)
    async with job.commit() as tx:
        await buyers.mark_receipt_sent(tx, buyer.id)


def compose(settings: Mail, buyer: Buyer) -> EmailMessage:
    """Return the mail for a buyer."""
    facts = {
        "name": buyer.name or "there",
        "license_id": buyer.license_id,
        "wallet": buyer.wallet,
        "tier": buyer.tier,
        "tx_hash": buyer.tx_hash or "-",
        "token_id": buyer.token_id or "-",
    }
    text = settings.body
    for name, value in facts.items():
        text = text.replace("{" + name + "}", value)
    message = EmailMessage()
    message["From"] = settings.sender
    message["To"] = buyer.email
    message["Subject"] = settings.subject
    message["Date"] = formatdate()
    domain = settings.sender.rpartition("@")[2].rstrip(">") or "localhost"
    message["Message-ID"] = f"<{buyer.id}.delivered@{domain}>"
    message.set_content(text)
    return message


def _send(settings: Mail, message: EmailMessage) -> None:
    context = ssl.create_default_context()
    if settings.security == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(
            settings.host, settings.port, timeout=_SECONDS, context=context
        )
    else:
        server = smtplib.SMTP(settings.host, settings.port, timeout=_SECONDS)
    with server:
        if settings.security == "starttls":
            server.starttls(context=context)
        if settings.user and settings.password is not None:
            server.login(settings.user, settings.password.reveal())
        server.send_message(message)
