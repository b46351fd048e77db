"""What may stand in `[plugins.mint]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from wharfd import NetworkPolicy, Secret, UrlRefused, option, parse_url

from .model.calls import Function, Interface, selector
from .model.decisions import Rules
from .model.fees import WEI_PER_GWEI, FeeRules
from .model.wallets import BadWallet, check_wallet

_CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of secp256k1


@dataclass(frozen=True)
class Tier:
    """What is sold: how many there are, and the price."""

    cap: int | None = option(None, help="how many buyers there can be; without it any number", example="300")
    price: int | None = option(None, help="price in minor units (cents)", example="250000")
    currency: str = option("USD", help="currency of the price")

    def __post_init__(self) -> None:
        if self.cap is not None and self.cap < 0:
            raise ValueError("cap: must not be below 0")
        if self.price is not None and self.price < 0:
            raise ValueError("price: must not be below 0")
        if not re.fullmatch(r"[A-Z]{3}", self.currency):
            raise ValueError('currency: must be three capitals such as "USD"')


@dataclass(frozen=True)
class Payments:
    """Which payments activate a buyer. Off until a pattern is given."""

    license_in: Literal["merchant_ref", "external_id"] = option(
        "merchant_ref", help="field of the payment that names the license"
    )
    pattern: str = option(
        "^(?P<license>[A-Z]+-[A-Z0-9]{5,})$",
        help="regular expression with the group license; a payment that does not match is not ours",
    )
    sources: tuple[str, ...] = option(
        (), help="only payments of these sources; empty: all", example='["netbanx"]'
    )
    check_amount: bool = option(
        True, help="a payment below the buyer's price activates nothing and is reported"
    )

    def __post_init__(self) -> None:
        try:
            groups = re.compile(self.pattern).groupindex
        except re.error as error:
            raise ValueError(f"pattern: is no regular expression: {error}") from None
        if "license" not in groups:
            raise ValueError("pattern: needs the group (?P<license>…)")


@dataclass(frozen=True)
class Evm:
    """A chain that speaks Ethereum JSON-RPC."""

    chain_id: int = option(help="the chain; an endpoint that says another one stops minting")
    rpc: tuple[Secret, ...] = option(help="URLs of JSON-RPC endpoints, the preferred one first")
    contract: str = option(help="address of the contract")
    key: Secret = option(help="private key of the minter, 0x and 64 digits")
    mint: str = option("mint(address,bytes32)", help="function that mints")
    mint_arguments: tuple[str, ...] = option(
        ("wallet", "license_hash"), help="wallet, license_hash, license_id, token_id or tier, in its order"
    )
    lookup: str = option("tokenOfLicense(bytes32)", help="function that tells whether a license was minted")
    lookup_arguments: tuple[str, ...] = option(("license_hash",), help="likewise")
    lookup_answer: Literal["token", "owner", "logs", "none"] = option(
        "token",
        help="it returns a token id or an owner; logs: there is none, the Transfer logs tell;"
        " none: nothing tells, and doubt needs a person",
    )
    already_minted: str = option(
        "AlreadyMinted(bytes32,uint256)", help="the contract's error for a license that was minted"
    )
    confirmations: int = option(12, help="blocks until a mint counts, its own included")
    finality: Literal["confirmations", "finalized"] = option(
        "confirmations", help="finalized: wait for the chain's own finalized block instead"
    )
    from_block: int = option(0, help="block the contract was deployed in; logs are searched from there")
    log_range: int = option(2000, help="blocks per search of logs")
    gas_limit: int = option(0, help="gas per mint; 0: estimated, with a quarter on top")
    value: int = option(0, help="wei sent along with each mint")
    legacy: bool = option(False, help="the chain knows gas prices only, no priority fees")
    max_fee_gwei: float = option(300.0, help="most offered per gas, ever")
    max_tip_gwei: float = option(50.0, help="most offered on top of the base fee")
    min_tip_gwei: float = option(0.1, help="least offered on top of the base fee")
    bump: float = option(1.125, help="how much more each replacement offers")
    resend_after: timedelta = option(timedelta(seconds=30), help="an unmined transaction is sent again")
    bump_after: timedelta = option(
        timedelta(minutes=3), help="an unmined transaction is replaced by a dearer one"
    )
    poll: timedelta = option(timedelta(seconds=3), help="how often the chain is asked for a receipt")
    spend_per_day: float = option(1.0, help="most spent per day (UTC), in whole coins, worst case")
    low_balance: float = option(0.05, help="alert below this many coins")
    in_flight: int = option(16, help="nonces open at a time")
    timeout: timedelta = option(timedelta(seconds=10), help="longest wait for one answer")
    allow_networks: tuple[str, ...] = option(
        (), help="networks endpoints may be in that are refused by default", example='["127.0.0.0/8"]'
    )

    def __post_init__(self) -> None:
        if self.chain_id < 1:
            raise ValueError("chain_id: must be above 0")
        if not self.rpc:
            raise ValueError("rpc: needs at least one URL")
        try:
            object.__setattr__(self, "contract", check_wallet(self.contract))
        except BadWallet as error:
            raise ValueError(f"contract: {error}") from None
        for name, check in (("rpc", self._check_urls), ("mint", self.interface), ("max_fee_gwei", self.fees)):
            try:
                check()
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if not 1 <= self.confirmations <= 10_000 or not 1 <= self.in_flight <= 64 or self.log_range < 1:
            raise ValueError("confirmations: 1 to 10000; in_flight: 1 to 64; log_range: at least 1")
        if not re.fullmatch(r"(0x)?[0-9a-fA-F]{64}", self.key.reveal()):
            raise ValueError("key: must be 0x and 64 hexadecimal digits")
        if not 0 < int(self.key.reveal(), 16) < _CURVE_ORDER:
            raise ValueError("key: is no private key of this curve")

    def _check_urls(self) -> None:
        for number, url in enumerate(self.rpc):
            try:
                parse_url(url.reveal())
            except UrlRefused as error:
                raise ValueError(f"URL {number + 1}: {error}") from None
        self.network()

    def network(self) -> NetworkPolicy:
        """Which hosts endpoints may be on."""
        return NetworkPolicy(self.allow_networks)

    def interface(self) -> Interface:
        """What the contract can do."""
        known = self.lookup_answer in ("token", "owner")
        return Interface(
            mint=Function(self.mint, tuple(self.mint_arguments)),
            lookup=Function(self.lookup, tuple(self.lookup_arguments)) if known else None,
            answer=self.lookup_answer,
            already_minted=selector(self.already_minted) if self.already_minted else b"",
        )

    def fees(self) -> FeeRules:
        """How to offer."""
        gwei = [
            int(amount * WEI_PER_GWEI) for amount in (self.max_fee_gwei, self.min_tip_gwei, self.max_tip_gwei)
        ]
        return FeeRules(gwei[0], max(1, gwei[1]), gwei[2], bump=self.bump, legacy=self.legacy)

    def rules(self) -> Rules:
        """How patient to be."""
        return Rules(self.poll, self.resend_after, self.bump_after, lookup=self.lookup_answer != "none")


@dataclass(frozen=True)
class Http:
    """A service that mints: `POST url` with an Idempotency-Key, `GET url/<key>` to ask."""

    url: str = option(help="where mints are posted")
    token: Secret | None = option(
        None, help="sent as Authorization: Bearer", example='{ credential = "mint.token" }'
    )
    poll: timedelta = option(timedelta(seconds=10), help="how often a pending mint is asked for")
    timeout: timedelta = option(timedelta(seconds=15), help="longest wait for one answer")
    allow_networks: tuple[str, ...] = option(
        (), help="networks the service may be in that are refused by default", example='["10.0.0.0/8"]'
    )

    def __post_init__(self) -> None:
        try:
            parse_url(self.url)
        except UrlRefused as error:
            raise ValueError(f"url: {error}") from None


@dataclass(frozen=True)
class Mail:
    """Mail to the buyer when the token is there."""

    host: str = option(help="SMTP server")
    sender: str = option(help="address the mail comes from")
    port: int = option(587, help="its port")
    security: Literal["starttls", "tls", "none"] = option("starttls", help="how the connection is protected")
    user: str = option("", help="name to log in with; empty: no login")
    password: Secret | None = option(
        None, help="password to log in with", example='{ credential = "smtp.password" }'
    )
    subject: str = option("Your NFT has arrived", help="subject of the mail")
    body: str = option(
        "Hello {name}, the NFT for license {license_id} is in your wallet {wallet}. Transaction: {tx_hash}",
        help="text; name, license_id, wallet, tier, tx_hash and token_id in braces are filled in",
    )


@dataclass(frozen=True)
class Settings:
    """Buyers, tiers, and how tokens are minted."""

    minter: str = option(
        "", help="who mints: evm, http, or what another plugin offers; empty: the chain or service given here"
    )
    tiers: dict[str, Tier] = option(default_factory=dict, help="what is sold, one table each")
    payments: Payments = option(default_factory=Payments, help="which payments activate a buyer")
    evm: Evm | None = option(None, help="the chain")
    http: Http | None = option(None, help="the mint service")
    mail: Mail | None = option(None, help="mail to the buyer; without it the event nft.delivered is all")
    license_prefix: str = option("NODE", help="what new license ids begin with")
    license_digits: int = option(10, help="random letters and digits of a new license id")
    wires_hold_places: bool = option(True, help="a buyer whose wire is awaited counts against the tier's cap")
    wire_instructions: str = option(
        "Send the wire with your license id as the reference. The license is active when the money is here.",
        help="what POST /api/wire-transfer answers",
    )
    wire_days: int = option(30, help="after so many days an unpaid wire is reviewed")
    expire_wires: bool = option(True, help="reviewing means to expire it; false: only alert")
    archive_after_days: int = option(730, help="age at which refunded and expired buyers move to the archive")
    archive_above: int = option(10_000, help="how many buyers there must be before any move")
    stuck_after: timedelta = option(timedelta(minutes=30), help="alert when a mint takes longer")
    unminted_after: timedelta = option(timedelta(minutes=10), help="alert when an active buyer has no token")
    concurrency: int = option(8, help="mints worked on at a time by one daemon")
    validate_cron: str = option("15 4 * * *", help="when every token is compared with the chain (UTC)")

    def __post_init__(self) -> None:
        if self.minter == "evm" and self.evm is None:
            raise ValueError("evm: missing; the chain, or set minter to http")
        if self.minter == "http" and self.http is None:
            raise ValueError("http: missing; the mint service")
        for name in self.tiers:
            if not re.fullmatch(r"[a-z0-9_-]{1,40}", name):
                raise ValueError(f"tiers: {name!r} must be small letters, digits, - and _")
        if not re.fullmatch(r"[A-Z0-9]{1,16}", self.license_prefix) or not 5 <= self.license_digits <= 40:
            raise ValueError("license_prefix: capitals and digits; license_digits: 5 to 40")
        if not 1 <= self.concurrency <= 64 or self.wire_days < 1 or self.archive_after_days < 1:
            raise ValueError("concurrency: 1 to 64; wire_days and archive_after_days: at least 1")

    @property
    def minting(self) -> str:
        """Who mints; "none" where nobody is given."""
        return self.minter or ("evm" if self.evm is not None else "http" if self.http is not None else "none")
