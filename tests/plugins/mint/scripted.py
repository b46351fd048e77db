"""A chain in memory that can do what no real node does on request: lie, time out after accepting, forget.

State is what the blocks say: the contract and the accounts are computed from them, so that taking blocks away
is all there is to a reorganisation. `Faults` says what goes wrong; the default is a chain that behaves.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

from wharfd_mint.evm.endpoints import RpcAway
from wharfd_mint.model.calls import TRANSFER_TOPIC, selector, topic_of
from wharfd_mint.model.failures import RpcError

CONTRACT = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
ALREADY = selector("AlreadyMinted(bytes32,uint256)").hex()
GWEI = 10**9


class PlainSigner:
    """Signs without cryptography: the raw bytes are the fields. As deterministic as the real one, and quick."""

    def __init__(self, address="0x" + "11" * 20):
        self.address = address

    async def sign(self, draft):
        fields = {
            "from": self.address, "chain": draft.chain_id, "nonce": draft.nonce, "to": draft.to,
            "data": draft.data.hex(), "gas": draft.gas, "max": draft.fees.max_fee, "tip": draft.fees.priority,
            "value": draft.value,
        }  # fmt: skip
        raw = json.dumps(fields, sort_keys=True).encode()
        return raw, "0x" + hashlib.sha256(raw).hexdigest()


@dataclass
class Tx:
    hash: str
    sender: str
    nonce: int
    to: str
    data: str
    max_fee: int
    tip: int
    gas: int


@dataclass
class Chain:
    """Blocks, a pool, and the contract they make."""

    chain_id: int = 7
    blocks: list[list[Tx]] = field(default_factory=lambda: [[]])
    pool: dict[tuple[str, int], Tx] = field(default_factory=dict)
    base_fee: int = GWEI
    balance: int = 10**20
    paused: bool = False
    depth: int = 64
    automine: bool = False
    bump_percent: int = 10
    forks: int = 0
    careless: bool = False  # the contract mints whatever it is told, as often as it is told

    # -- what the blocks say ---------------------------------------------------------------------------

    def mined(self, upto=None):
        blocks = self.blocks if upto is None else self.blocks[: upto + 1]
        return [(number, tx) for number, block in enumerate(blocks) for tx in block]

    def count(self, sender, upto=None):
        return sum(tx.sender == sender for _, tx in self.mined(upto))

    def tokens(self):
        """Return license → (token id, wallet, tx, block), and what happened to each transaction."""
        tokens, fates = {}, {}
        for number, tx in self.mined():
            ok, made = True, None
            if tx.to == CONTRACT:
                license_, wallet = tx.data[8 + 64 :], "0x" + tx.data[8 + 24 : 8 + 64]
                ok = (self.careless or license_ not in tokens) and not self.paused
                if ok and license_ in tokens:
                    license_ = f"{license_} again in {tx.hash}"
                if ok:
                    made = (len(tokens) + 1, wallet, tx.hash, number)
                    tokens[license_] = made
            fates[tx.hash] = (ok, number, made)
        return tokens, fates

    @property
    def head(self):
        return len(self.blocks) - 1

    def mine(self, blocks=1):
        for _ in range(blocks):
            block = []
            for sender in {tx.sender for tx in self.pool.values()}:
                nonce = self.count(sender)
                while (tx := self.pool.get((sender, nonce))) is not None and tx.max_fee >= self.base_fee:
                    block.append(tx)
                    del self.pool[sender, nonce]
                    nonce += 1
            self.blocks.append(block)

    def reorg(self, depth):
        """Take the last blocks away and put empty ones there; their transactions are nowhere."""
        depth = min(depth, self.head)
        if depth:
            del self.blocks[-depth:]
            self.blocks += [[] for _ in range(depth)]
            self.forks += 1

    def forget(self, sender=None):
        self.pool.clear()

    # -- the node --------------------------------------------------------------------------------------

    def answer(self, method, params):
        return getattr(self, method)(*params)

    def block_of(self, tag):
        if tag in ("latest", "pending"):
            return self.head
        return max(0, self.head - self.depth) if tag == "finalized" else min(int(tag, 16), self.head)

    def eth_chainId(self):
        return hex(self.chain_id)

    def eth_blockNumber(self):
        return hex(self.head)

    def eth_getBlockByNumber(self, tag, full):
        return {"number": hex(self.block_of(tag)), "baseFeePerGas": hex(self.base_fee)}

    def eth_maxPriorityFeePerGas(self):
        return hex(GWEI)

    def eth_getTransactionCount(self, sender, tag):
        return hex(self.count(sender, self.block_of(tag)))

    def eth_getBalance(self, sender, tag):
        return hex(self.balance)

    def eth_getCode(self, address, tag):
        return "0x6000"

    def eth_getTransactionByHash(self, tx_hash):
        mine = [tx for _, tx in self.mined() if tx.hash == tx_hash]
        return {"to": mine[0].to, "input": "0x" + mine[0].data} if mine else None

    def eth_call(self, call, tag):
        assert not self.careless, "this contract cannot be asked"
        token = self.tokens()[0].get(call["data"][10:])
        return "0x" + (token[0] if token else 0).to_bytes(32).hex()

    def eth_estimateGas(self, call):
        if call["to"] != CONTRACT:
            return hex(21000)
        token = self.tokens()[0].get(call["data"][2 + 8 + 64 :])
        if self.paused or (token and not self.careless):
            data = "0x" + (
                ALREADY + call["data"][2 + 8 + 64 :] + token[0].to_bytes(32).hex() if token else "9e87fac8"
            )
            raise RpcError(3, "execution reverted", data)
        return hex(117326)

    def eth_sendRawTransaction(self, raw):
        fields = json.loads(bytes.fromhex(raw[2:]))
        tx_hash = "0x" + hashlib.sha256(bytes.fromhex(raw[2:])).hexdigest()
        tx = Tx(
            tx_hash, fields["from"], fields["nonce"], fields["to"], fields["data"], fields["max"], fields["tip"],
            fields["gas"],
        )  # fmt: skip
        if fields["chain"] != self.chain_id:
            raise RpcError(-32000, "invalid sender")
        if self.balance < tx.gas * tx.max_fee:
            raise RpcError(-32000, "insufficient funds for gas * price + value")
        if tx.nonce < self.count(tx.sender):
            raise RpcError(-32000, "nonce too low")
        there = self.pool.get((tx.sender, tx.nonce))
        if there is not None:
            if there.hash == tx.hash:
                raise RpcError(-32000, "already known")
            least = 100 + self.bump_percent
            if tx.max_fee * 100 < there.max_fee * least or tx.tip * 100 < there.tip * least:
                raise RpcError(-32000, "replacement transaction underpriced")
        self.pool[tx.sender, tx.nonce] = tx
        if self.automine:
            self.mine()
        return tx_hash

    def eth_getTransactionReceipt(self, tx_hash):
        fate = self.tokens()[1].get(tx_hash)
        if fate is None:
            return None
        ok, number, made = fate
        logs = [] if made is None else [self._log(made)]
        return {
            "status": "0x1" if ok else "0x0", "blockNumber": hex(number), "blockHash": f"0x{self.forks:x}{number:x}",
            "gasUsed": hex(100000), "effectiveGasPrice": hex(self.base_fee), "logs": logs,
        }  # fmt: skip

    @staticmethod
    def _log(made):
        token, wallet, tx_hash, number = made
        to = topic_of(int(wallet, 16))
        return {
            "address": CONTRACT, "topics": [TRANSFER_TOPIC, topic_of(0), to, topic_of(token)],
            "transactionHash": tx_hash, "blockNumber": hex(number),
        }  # fmt: skip

    def eth_getLogs(self, query):
        wanted = int(query["topics"][3], 16) if len(query["topics"]) == 4 else None
        first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        made = [
            one for one in self.tokens()[0].values() if wanted in (None, one[0]) and first <= one[3] <= last
        ]
        return [self._log(one) for one in made]


class Node:
    """An endpoint of a chain. `interfere(method, params)` may raise, or return what to answer instead.

    `after(method, params)` is called when the chain has already acted, and may still raise.
    """

    def __init__(self, chain, name="node#1", interfere=None, after=None):
        self.chain, self.name = chain, name
        self.interfere, self.after = interfere, after
        self.calls = []

    async def call(self, method, params):
        self.calls.append(method)
        if self.interfere is not None:
            instead = self.interfere(method, params)
            if hasattr(instead, "__await__"):
                instead = await instead
            if instead is not None:
                return instead
        result = self.chain.answer(method, params)
        if self.after is not None:
            self.after(method, params)
        return result


def away(name="node#1"):
    return RpcAway(f"{name}: timeout")
