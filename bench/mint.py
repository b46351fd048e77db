"""Minting against anvil that mines every transaction at once, beside a plain web3.py loop.

    python bench/mint.py [MINTS]

The plain loop (`bench/peers/web3_loop.py`, in an environment with web3 8) signs, sends and waits for one
receipt after the other. It keeps nothing: killed between sending and writing down, it does not know what it
did.

FIGURES
"""
