"""Money as people read it: minor units with the decimals of their currency."""

from __future__ import annotations

# What ISO 4217 gives other decimals than two.
_NO_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DECIMALS = "BHD IQD JOD KWD LYD OMR TND"


def in_words(minor: object, currency: object) -> str:
    """Return an amount such as `2500.00 USD`."""
    if not isinstance(minor, int) or not isinstance(currency, str):
        return "an unknown amount"
    decimals = 0 if currency in _NO_DECIMALS else 3 if currency in _THREE_DECIMALS else 2
    sign, digits = "-" if minor < 0 else "", f"{abs(minor):0{decimals + 1}}"
    cut = len(digits) - decimals
    return f"{sign}{digits[:cut]}{'.' if decimals else ''}{digits[cut:]} {currency}"
