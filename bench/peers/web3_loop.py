"""What one writes in an afternoon: mint licenses one after the other with web3.py. Key on standard input.

python web3_loop.py URL CONTRACT MINTS
"""

import sys
import time

from web3 import Web3

WALLET = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
ABI = [
    {"type": "function", "name": "mint", "stateMutability": "nonpayable",
     "inputs": [{"name": "to", "type": "address"}, {"name": "license", "type": "bytes32"}],
     "outputs": [{"name": "tokenId", "type": "uint256"}]},
    {"type": "function", "name": "tokenOfLicense", "stateMutability": "view",
     "inputs": [{"name": "license", "type": "bytes32"}], "outputs": [{"name": "", "type": "uint256"}]},
]  # fmt: skip


def main(url: str, address: str, mints: int) -> None:
    w3 = Web3(Web3.HTTPProvider(url))
    account = w3.eth.account.from_key(sys.stdin.read().strip())
    contract = w3.eth.contract(Web3.to_checksum_address(address), abi=ABI)
    asked = 0
    plain_request = w3.provider.make_request

    def counted(method, params):
        nonlocal asked
        asked += 1
        return plain_request(method, params)

    w3.provider.make_request = counted
    began = time.perf_counter()
    for number in range(mints):
        license_id = w3.keccak(text=f"NODE-{number:06}")
        if contract.functions.tokenOfLicense(license_id).call():
            continue
        nonce = w3.eth.get_transaction_count(account.address)
        tx = contract.functions.mint(WALLET, license_id).build_transaction(
            {"from": account.address, "nonce": nonce}
        )
        sent = w3.eth.send_raw_transaction(account.sign_transaction(tx).raw_transaction)
        assert w3.eth.wait_for_transaction_receipt(sent, poll_latency=0.01)["status"] == 1
    took = time.perf_counter() - began
    rate = f"{mints / took:.1f}/s, {asked / mints:.1f} RPC calls each"
    sys.stdout.write(f"web3 loop: {mints} mints in {took:.2f} s: {rate}\n")


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
