"""The rules, without I/O."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wharfd_mint.model import decisions as d
from wharfd_mint.model.calls import Function, Interface, minted_in, selector
from wharfd_mint.model.failures import Failure, RpcError, classify, revert_bytes
from wharfd_mint.model.fees import FeeRules, Fees, Market, first_offer, replacement
from wharfd_mint.model.keccak import keccak256
from wharfd_mint.model.licenses import BadLicense, check_license, license_hash, new_license
from wharfd_mint.model.money import in_words
from wharfd_mint.model.wallets import BadWallet, check_wallet, checksummed

GWEI = 10**9
ALREADY = selector("AlreadyMinted(bytes32,uint256)")
DUPLICATE = "0x" + ALREADY.hex() + "11" * 32 + "00" * 31 + "01"


# -- hashes, wallets, licenses -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (b"", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
        (b"testing", "5f16f4c7f149ac4f9510d9cf8cf384038ad348b3bcdc01915f95de12df9d1b02"),
        (b"transfer(address,uint256)", "a9059cbb2ab09eb219583f4a59a5d0623ade346d962bcd4e46b11da047c9049b"),
    ],
)
def test_keccak_knows_published_hashes(data, digest):
    assert keccak256(data).hex() == digest


@pytest.mark.parametrize("size", [1, 71, 72, 134, 135, 136, 137, 271, 272, 273, 1000])
def test_keccak_agrees_with_the_library_around_block_borders(size):
    from eth_utils import keccak

    assert keccak256(b"x" * size) == keccak(b"x" * size)


@pytest.mark.parametrize(
    "wallet",
    [
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ],
)
def test_checksums_are_those_of_eip_55(wallet):
    assert checksummed(wallet.lower()) == wallet
    assert (
        check_wallet(wallet)
        == check_wallet(wallet.lower())
        == check_wallet("0x" + wallet[2:].upper())
        == wallet
    )


BAD_WALLETS = [
    ("", "40"),
    ("0x", "40"),
    ("5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "40"),
    ("0X5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "40"),
    ("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe", "40"),
    ("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAedd", "40"),
    ("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeg", "40"),
    (" 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "40"),
    ("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed\n", "40"),
    ("0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "checksum"),
    ("0x5aaeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "checksum"),
    ("0x" + "0" * 40, "nobody"),
    ("0x000000000000000000000000000000000000dEaD", "nobody"),
    ("0x" + "f" * 40, "nobody"),
    ("0x" + "0" * 39 + "1", "nobody"),
    ("vitalik.eth", "40"),
    ("0x５aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "40"),
]


@pytest.mark.parametrize(("wallet", "why"), BAD_WALLETS)
def test_a_bad_wallet_is_refused_with_the_reason(wallet, why):
    with pytest.raises(BadWallet, match=why):
        check_wallet(wallet)


@given(st.text(max_size=60))
def test_no_text_breaks_the_wallet_check(text):
    with suppress(BadWallet):
        assert check_wallet(text).lower() == text.lower()


@pytest.mark.parametrize("text", ["NODE-AB3DE", "node-ab3de", " NODE-AB3DE ", "A-1-2-3"])
def test_license_ids(text):
    assert check_license(text) == text.strip().upper()


@pytest.mark.parametrize(
    "text", ["", "NODE", "NODE-", "-NODE", "NODE AB", "NODE-AB/DE", "NÖDE-1", "A-" + "B" * 70]
)
def test_what_is_no_license_id(text):
    with pytest.raises(BadLicense):
        check_license(text)


def test_new_licenses_are_licenses_and_differ():
    made = {new_license("NODE", 10) for _ in range(200)}
    assert len(made) == 200
    assert all(check_license(one) == one for one in made)


# -- fees ----------------------------------------------------------------------------------------------

RULES = FeeRules(cap=300 * GWEI, least_tip=GWEI // 10, most_tip=50 * GWEI)
amounts = st.integers(0, 400 * GWEI)


@given(amounts, amounts)
def test_a_first_offer_pays_the_block_and_stays_below_the_cap(base, tip):
    offer = first_offer(Market(base, tip), RULES)
    if offer is None:
        assert base + min(max(tip, RULES.least_tip), RULES.most_tip) > RULES.cap
    else:
        assert base + offer.priority <= offer.max_fee <= RULES.cap
        assert RULES.least_tip <= offer.priority <= RULES.most_tip


@given(st.integers(1, 300 * GWEI), st.integers(1, 50 * GWEI), amounts, amounts)
def test_a_replacement_raises_both_parts_by_a_tenth_or_is_none(most, tip, base, market_tip):
    before = Fees(max(most, tip), tip)
    after = replacement(before, Market(base, market_tip), RULES)
    if after is not None:
        assert after.max_fee * 10 >= before.max_fee * 11
        assert after.priority * 10 >= before.priority * 11
        assert after.priority <= after.max_fee <= RULES.cap


def test_replacements_end_at_the_cap():
    fees, count = Fees(2 * GWEI, GWEI), 0
    while (dearer := replacement(fees, Market(GWEI, GWEI), RULES)) is not None:
        fees, count = dearer, count + 1
        assert count < 200
    assert fees.max_fee * 11 > RULES.cap * 10 or fees.priority * 11 > fees.max_fee * 10


def test_a_chain_without_tips_has_one_price():
    rules = FeeRules(cap=300 * GWEI, legacy=True)
    offer = first_offer(Market(0, 5 * GWEI), rules)
    assert offer.max_fee == offer.priority
    dearer = replacement(offer, Market(0, 5 * GWEI), rules)
    assert dearer.max_fee == dearer.priority


@pytest.mark.parametrize("wrong", [{"bump": 1.05}, {"cap": 1}, {"least_tip": 0}])
def test_fee_rules_that_no_node_would_take_are_refused(wrong):
    with pytest.raises(ValueError, match=r"bump|cap"):
        FeeRules(**{"cap": 300 * GWEI, **wrong})


# -- errors: the exact words of four nodes -------------------------------------------------------------

F = Failure
WORDS = [
    # geth
    (-32000, "already known", None, F.KNOWN_ALREADY),
    (-32000, "nonce too low", None, F.NONCE_USED),
    (-32000, "nonce too low: next nonce 2, tx nonce 1", None, F.NONCE_USED),
    (-32000, "nonce too high", None, F.NONCE_TOO_HIGH),
    (-32000, "transaction underpriced", None, F.UNDERPRICED),
    (-32000, "replacement transaction underpriced", None, F.UNDERPRICED),
    (-32000, "insufficient funds for gas * price + value", None, F.NO_FUNDS),
    (-32000, "intrinsic gas too low", None, F.GAS_TOO_LOW),
    (-32000, "exceeds block gas limit", None, F.MALFORMED),
    (-32000, "max fee per gas less than block base fee", None, F.UNDERPRICED),
    (-32000, "max priority fee per gas higher than max fee per gas", None, F.MALFORMED),
    (-32000, "account limit exceeded", None, F.BUSY),
    (-32000, "future transaction tries to replace pending", None, F.UNDERPRICED),
    (-32000, "gas limit reached", None, F.BUSY),
    (-32000, "sender not an eoa", None, F.MALFORMED),
    (3, "execution reverted", DUPLICATE, F.ALREADY_MINTED),
    (3, "execution reverted", "0x9e87fac8", F.REVERTED),
    (3, "execution reverted: Ownable: caller is not the owner", "0x08c379a0", F.REVERTED),
    # anvil 1.7.1
    (-32003, "nonce too low", None, F.NONCE_USED),
    (-32003, "transaction already imported", None, F.KNOWN_ALREADY),
    (3, f"execution reverted: custom error 0x{ALREADY.hex()}: 1111", DUPLICATE, F.ALREADY_MINTED),
    (-32003, "Insufficient funds for gas * price + value", None, F.NO_FUNDS),
    (-32003, "max fee per gas less than block base fee", None, F.UNDERPRICED),
    # hardhat 2.29.1
    (-32000, "Nonce too low. Expected nonce to be 2 but got 1. Note that transactions can't be queued", None, F.NONCE_USED),
    (-32000, "Nonce too high. Expected nonce to be 2 but got 4.", None, F.NONCE_TOO_HIGH),
    (-32000, "Known transaction: 0x" + "ab" * 32, None, F.KNOWN_ALREADY),
    (-32603, "Error: VM Exception while processing transaction: reverted with an unrecognized custom error", {"data": DUPLICATE, "message": "reverted"}, F.ALREADY_MINTED),
    (-32603, "Error: VM Exception while processing transaction: reverted with custom error 'Paused()'", {"data": "0x9e87fac8"}, F.REVERTED),
    (-32000, "Sender doesn't have enough funds to send tx. The max upfront cost is: 1", None, F.NO_FUNDS),
    (-32000, "Transaction requires at least 21944 gas but got 21000", None, F.GAS_TOO_LOW),
    (-32000, "Transaction maxFeePerGas (1) is too low for the next block, which has a baseFeePerGas of 7", None, F.UNDERPRICED),
    (-32000, "Replacement transaction underpriced. A gasPrice/maxFeePerGas of at least 22000000000 is necessary", None, F.UNDERPRICED),
    # ganache 7.9.2
    (-32000, "the tx doesn't have the correct nonce. account has nonce of: 2 tx has nonce of: 1", None, F.NONCE_USED),
    (-32003, "transaction underpriced", None, F.UNDERPRICED),
    (-32000, "VM Exception while processing transaction: revert", {"result": DUPLICATE}, F.ALREADY_MINTED),
    (-32000, "VM Exception while processing transaction: revert", DUPLICATE, F.ALREADY_MINTED),
    (-32000, "VM Exception while processing transaction: revert", {"0x" + "ab" * 32: {"return": DUPLICATE}}, F.ALREADY_MINTED),
    (-32003, "insufficient funds for gas * price + value", None, F.NO_FUNDS),
    (-32000, "intrinsic gas too low", None, F.GAS_TOO_LOW),
    # others
    (-32000, "nonce too far in the future", None, F.NONCE_TOO_HIGH),
    (-32000, "OldNonce, Current nonce: 5, exceeds next nonce", None, F.NONCE_TOO_HIGH),
    (-32000, "nonce out of range", None, F.NONCE_TOO_HIGH),
    (-32000, "tx-nonce-too-high", None, F.NONCE_TOO_HIGH),
    (-32000, "nonce is too low", None, F.NONCE_USED),
    (-32000, "transaction with the same hash was already imported", None, F.KNOWN_ALREADY),
    (-32005, "daily request count exceeded, request rate limited", None, F.AWAY),
    (429, "Too Many Requests", None, F.AWAY),
    (-32000, "header not found", None, F.AWAY),
    (-32603, "Internal error", None, F.AWAY),
    (-32601, "the method eth_maxPriorityFeePerGas does not exist/is not available", None, F.MALFORMED),
    (-32000, "something nobody has seen before", None, F.AWAY),
    (-32000, "", None, F.AWAY),
]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "message", "data", "failure"), WORDS, ids=[f"{n}-{w[1][:30]}" for n, w in enumerate(WORDS)]
)
def test_the_words_of_nodes_are_understood(code, message, data, failure):
    assert classify(RpcError(code, message, data), ALREADY) is failure


def test_without_the_contracts_error_a_duplicate_is_a_plain_revert():
    assert classify(RpcError(3, "execution reverted", DUPLICATE)) is F.REVERTED


@pytest.mark.parametrize(
    "data", [None, "", "nonsense", "0x1", 5, [], {}, {"data": {"data": {}}}, {"data": None}]
)
def test_strange_revert_data_is_no_revert_data(data):
    assert revert_bytes(RpcError(3, "execution reverted", data)) is None


# -- calls ---------------------------------------------------------------------------------------------


def interface(**more):
    values = {
        "mint": Function("mint(address,bytes32)", ("wallet", "license_hash")),
        "lookup": Function("tokenOfLicense(bytes32)", ("license_hash",)),
        "answer": "token",
        "already_minted": ALREADY,
    }
    return Interface(**{**values, **more})


def test_calls_are_encoded_by_meaning():
    wallet = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
    data = interface().mint.call(Interface.values("NODE-AB3DE", wallet, "gold"))
    assert data[:4] == selector("mint(address,bytes32)")
    assert data[4:36].hex() == wallet[2:].lower().rjust(64, "0")
    assert data[36:] == license_hash("NODE-AB3DE")
    named = Function("mint(string,address,uint256)", ("license_id", "wallet", "token_id"))
    assert named.call(Interface.values("NODE-AB3DE", wallet, "gold"))[68:100] == license_hash("NODE-AB3DE")


@pytest.mark.parametrize(
    ("signature", "arguments"),
    [
        ("mint", ()),
        ("mint(address", ("wallet",)),
        ("mint(address)", ()),
        ("mint(address)", ("purse",)),
        ("mint address", ()),
    ],
)
def test_functions_that_are_none_are_refused(signature, arguments):
    with pytest.raises(ValueError, match=r"signature|takes|none of"):
        Function(signature, arguments)


def test_lookups_are_read():
    word = (5).to_bytes(32)
    assert interface().token_in(word, "A-1") == d.Token(5)
    assert interface().token_in(bytes(32), "A-1") is False
    owner = interface(answer="owner")
    holder = bytes(12) + bytes.fromhex("5aaeb6053f3e94c9b9a09f33669435e7ef1beaed")
    token = owner.token_in(holder, "A-1")
    assert (token.id, token.holder) == (
        int.from_bytes(license_hash("A-1")),
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    )
    assert owner.token_in(bytes(32), "A-1") is False
    with pytest.raises(ValueError, match="is it the contract"):
        interface().token_in(b"", "A-1")


def test_only_a_mint_by_the_contract_for_the_wallet_counts():
    from wharfd_mint.model.calls import TRANSFER_TOPIC, topic_of

    wallet, contract = "0x" + "ab" * 20, "0x" + "cd" * 20
    good = {
        "address": contract,
        "topics": [TRANSFER_TOPIC, topic_of(0), topic_of(int(wallet, 16)), topic_of(9)],
    }
    assert minted_in([good], contract, wallet) == 9
    for wrong in (
        {**good, "address": wallet},
        {**good, "topics": [TRANSFER_TOPIC, topic_of(1), *good["topics"][2:]]},
        {**good, "topics": [TRANSFER_TOPIC, topic_of(0), topic_of(1), topic_of(9)]},
        {**good, "topics": good["topics"][:3]},
        {},
    ):
        assert minted_in([wrong], contract, wallet) is None


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (250000, "USD", "2500.00 USD"), (5, "USD", "0.05 USD"), (0, "EUR", "0.00 EUR"), (-1250, "EUR", "-12.50 EUR"),
        (500, "JPY", "500 JPY"), (1234, "KWD", "1.234 KWD"), (None, "EUR", "an unknown amount"),
    ],
)  # fmt: skip
def test_money_is_written_with_the_decimals_of_its_currency(minor, currency, text):
    assert in_words(minor, currency) == text


# -- what to do next -----------------------------------------------------------------------------------

NOW = datetime(2026, 1, 1, tzinfo=UTC)
R = d.Rules()
NEW = d.State(wanted=True)


def ago(seconds):
    return NOW - timedelta(seconds=seconds)


def attempt(hash_="a", kind="mint", *, signed=1, sent=1, failure=None):
    return d.Attempt(
        hash_, kind, ago(signed), 0 if sent is None else 1, None if sent is None else ago(sent), failure
    )


def holding(*attempts, **more):
    return d.State(**{"wanted": True, "nonce": 5, "attempts": attempts, **more})


NONE = d.Sight(receipts={})
FREE = d.Sight(receipts={}, token=False)
MINED = d.Receipt(True, 10)
REVERTED = d.Receipt(False, 10)
TOKEN = d.Token(3)

STEPS = [
    ("asks the contract first", NEW, d.Sight(), d.Look("token")),
    ("adopts what is there", NEW, d.Sight(token=TOKEN), d.Adopt(TOKEN)),
    ("signs when there is none", NEW, d.Sight(token=False), d.Sign("mint", replaces=False)),
    ("signs nothing for the refunded", d.State(wanted=False), d.Sight(), d.Stop("withdrawn")),
    ("is done after a delivery", d.State(wanted=True, delivered=True), d.Sight(), d.Stop("settled")),
    ("stops where a person is needed", d.State(wanted=True, doomed="why"), d.Sight(token=False), d.Stop("held", "why")),
    ("adopts even then", d.State(wanted=True, doomed="why"), d.Sight(token=TOKEN), d.Adopt(TOKEN)),
    ("looks for receipts before anything", holding(attempt()), d.Sight(), d.Look("receipts")),
    ("asks what is final", holding(attempt()), d.Sight(receipts={"a": MINED}), d.Look("final")),
    ("waits for confirmations", holding(attempt()), d.Sight(receipts={"a": MINED}, final=9), d.Wait("mined", R.poll)),
    ("delivers what is final", holding(attempt()), d.Sight(receipts={"a": MINED}, final=10), d.Deliver("a")),
    ("any hash of the nonce may win", holding(attempt("a"), attempt("b")), d.Sight(receipts={"b": None, "a": MINED}, final=10), d.Deliver("a")),
    ("a final revert frees the nonce", holding(attempt()), d.Sight(receipts={"a": REVERTED}, final=10), d.Close("reverted", "a")),
    ("a young revert does not", holding(attempt()), d.Sight(receipts={"a": REVERTED}, final=9), d.Wait("reverted", R.poll)),
    ("mined after a refund is delivered all the same", holding(attempt(), wanted=False), d.Sight(receipts={"a": MINED}, final=10), d.Deliver("a")),
    ("asks again before the first broadcast", holding(attempt(sent=None)), NONE, d.Look("token")),
    ("sends what was signed", holding(attempt(sent=None)), FREE, d.Send("a")),
    ("never sends what is minted", holding(attempt(sent=None)), d.Sight(receipts={}, token=TOKEN), d.Adopt(TOKEN)),
    ("waits after sending", holding(attempt(sent=2)), NONE, d.Wait("sent", R.poll)),
    ("looks at the nonce before sending again", holding(attempt(sent=31, signed=31)), NONE, d.Look("nonce")),
    ("and at the contract", holding(attempt(sent=31, signed=31)), NONE.with_(nonce=5), d.Look("token")),
    ("sends the same bytes again", holding(attempt(sent=31, signed=31)), FREE.with_(nonce=5), d.Send("a")),
    ("replaces what is stuck", holding(attempt(sent=3, signed=181)), FREE.with_(nonce=5), d.Sign("mint", replaces=True)),
    ("asks for the fees when others hold it up", holding(attempt(sent=3, signed=181)), FREE.with_(nonce=4), d.Look("dear")),
    ("offers no more while others hold it up", holding(attempt(sent=3, signed=181)), FREE.with_(nonce=4, dear=False), d.Wait("sent", R.poll)),
    ("but sends it again", holding(attempt(sent=31, signed=181)), FREE.with_(nonce=4, dear=False), d.Send("a")),
    ("and offers more when the chain is dearer", holding(attempt(sent=3, signed=181)), FREE.with_(nonce=4, dear=True), d.Sign("mint", replaces=True)),
    ("replaces what is underpriced at once", holding(attempt(failure=F.UNDERPRICED)), FREE.with_(nonce=5), d.Sign("mint", replaces=True)),
    ("gives more gas at once", holding(attempt(failure=F.GAS_TOO_LOW)), FREE.with_(nonce=5), d.Sign("mint", replaces=True)),
    ("looks at the nonce when it is said to be used", holding(attempt(failure=F.NONCE_USED)), NONE, d.Look("nonce")),
    ("does not believe it when it is not", holding(attempt(failure=F.NONCE_USED)), NONE.with_(nonce=5), d.Wait("sent", R.poll)),
    ("asks whether the use is final", holding(attempt(failure=F.NONCE_USED)), NONE.with_(nonce=6), d.Look("final_nonce")),
    ("waits until the use is final", holding(attempt(failure=F.NONCE_USED)), NONE.with_(nonce=6, final_nonce=5), d.Wait("nonce_used", R.poll, "its nonce was used, and by which transaction is not final yet")),
    ("gives a nonce up only then", holding(attempt(failure=F.NONCE_USED)), NONE.with_(nonce=6, final_nonce=6), d.Close("foreign")),
    ("takes a refunded mint back", holding(attempt(), wanted=False), NONE.with_(nonce=5), d.Sign("cancel", replaces=True)),
    ("also one that was never sent: the nonce must go", holding(attempt(sent=None), wanted=False), NONE.with_(nonce=5), d.Sign("cancel", replaces=True)),
    ("sends the taking back", holding(attempt(), attempt("c", "cancel", sent=None), wanted=False), NONE, d.Send("c")),
    ("waits for it", holding(attempt(), attempt("c", "cancel"), wanted=False), NONE, d.Wait("cancelling", R.poll)),
    ("is rid of the nonce", holding(attempt(), attempt("c", "cancel"), wanted=False), d.Sight(receipts={"c": MINED}, final=10), d.Close("cancelled", "c")),
    ("goes on with a taking back although wanted again", holding(attempt(), attempt("c", "cancel", sent=None)), NONE, d.Send("c")),
    ("asks the contract when it is said to be minted", holding(attempt(failure=F.ALREADY_MINTED)), NONE, d.Look("token")),
    ("ties up a nonce after adopting", holding(attempt(), delivered=True), NONE.with_(nonce=5), d.Sign("cancel", replaces=True)),
    ("ends after too many reverts", d.State(wanted=True, reverts=3), d.Sight(token=False), d.Stop("held", "the mint was refused on the chain 3 times")),
]  # fmt: skip


@pytest.mark.parametrize(("state", "sight", "action"), [s[1:] for s in STEPS], ids=[s[0] for s in STEPS])
def test_the_next_step(state, sight, action):
    assert d.decide(state, sight, R, NOW) == action


def test_a_contract_that_cannot_be_asked_leaves_doubt_to_a_person():
    blind = d.Rules(lookup=False)
    assert d.decide(NEW, d.Sight(), blind, NOW) == d.Sign("mint", replaces=False)
    assert d.decide(d.State(wanted=True, stolen=1), d.Sight(), blind, NOW).outcome == "held"
    assert d.decide(holding(attempt(sent=None)), NONE, blind, NOW) == d.Send("a")


booleans = st.booleans()
maybe = st.sampled_from
attempts = st.lists(
    st.builds(
        attempt, maybe("abcd"), maybe(["mint", "cancel"]), signed=maybe([1, 200]), sent=maybe([None, 1, 40]),
        failure=maybe([None, *Failure]),
    ),
    min_size=1, max_size=4, unique_by=lambda one: one.hash,
)  # fmt: skip
states = st.builds(
    lambda many, open_, **more: d.State(nonce=5 if open_ else None, attempts=tuple(many) if open_ else (), **more),
    attempts, booleans, wanted=booleans, delivered=booleans, reverts=maybe([0, 3]), stolen=maybe([0, 1]),
    doomed=maybe([None, "why"]),
)  # fmt: skip
sights = st.builds(
    d.Sight,
    receipts=maybe([None, {}, {"a": MINED}, {"b": REVERTED}]), final=maybe([None, 9, 10]),
    token=maybe([None, False, TOKEN]), nonce=maybe([None, 4, 5, 6]), final_nonce=maybe([None, 5, 6]),
    dear=maybe([None, False, True]),
)  # fmt: skip


@settings(max_examples=500)
@given(states, sights, booleans)
def test_no_new_nonce_while_one_is_open_and_nothing_without_asking(state, sight, lookup):
    action = d.decide(state, sight, d.Rules(lookup=lookup), NOW)
    if isinstance(action, d.Sign):
        assert action.replaces == (state.nonce is not None)
        if action.kind == "mint":
            assert state.wanted
            assert not state.delivered
            assert not lookup or sight.token is False
    if isinstance(action, d.Send) and next(a for a in state.attempts if a.hash == action.hash).kind == "mint":
        assert state.wanted
        assert not lookup or sight.token is False
    if isinstance(action, d.Close) and action.outcome == "foreign":
        assert sight.final_nonce > 5
        assert not any((sight.receipts or {}).get(a.hash) for a in state.attempts)
    if isinstance(action, d.Stop):
        assert state.nonce is None
    if isinstance(action, d.Look):
        assert getattr(sight, action.part) is None


@settings(max_examples=500)
@given(states, sights, maybe([4, 5]))
def test_looking_comes_to_an_end(state, sight, nonce):
    seen = {"receipts": {}, "final": 10, "token": False, "nonce": nonce, "final_nonce": 5, "dear": False}
    for _ in range(7):
        action = d.decide(state, sight, R, NOW)
        if not isinstance(action, d.Look):
            return
        sight = sight.with_(**{action.part: seen[action.part]})
    pytest.fail("it looks for ever")
