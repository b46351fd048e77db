"""Money: whole minor units and an ISO 4217 code, read from what people and programs write.

Never a float: 0.1 + 0.2 is not 0.3. A text is in major units and uses a point, such as `"1250.00"`; a JSON
whole number is in minor units unless the operator said otherwise. What could be read two ways is refused.
"""

from __future__ import annotations

import re

LARGEST = 10**15  # minor units; beyond it is no order but a slip of the finger

_NO_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DECIMALS = "BHD IQD JOD KWD LYD OMR TND"
_TWO_DECIMALS = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF "
    "CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF "
    "IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR "
    "MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD "
    "SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD YER "
    "ZAR ZMW ZWG"
)
EXPONENTS = {
    **dict.fromkeys(_NO_DECIMALS.split(), 0),
    **dict.fromkeys(_TWO_DECIMALS.split(), 2),
    **dict.fromkeys(_THREE_DECIMALS.split(), 3),
}

_PLAIN = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,6}))?")
_GROUPED = re.compile(r"[0-9]{1,3}([,.' _\u00a0\u2009\u202f][0-9]{2,3})+([.,][0-9]*)?")
_COMMA = re.compile(r"[0-9]+,[0-9]+")


class WrongAmount(ValueError):
    """An amount that cannot be taken: `code` for programs, the message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def minor_of_number(value: object, currency: str, *, unit: str = "minor") -> int:
    """Return the minor units that a JSON value means; a whole number is in `unit`, a text in major units.

    Raises `WrongAmount`.
    """
    if isinstance(value, str):
        return minor_of_text(value, currency)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongAmount(
            "amount_not_a_number", 'must be a whole number of minor units or a text like "12.50"'
        )
    if isinstance(value, float):
        raise WrongAmount(
            "amount_float",
            f"{value!r} is a float, which cannot hold money exactly; "
            f'send minor units (1250) or a text ("12.50")',
        )
    return _within(value * 10 ** EXPONENTS[currency] if unit == "major" else value)


def minor_of_text(text: str, currency: str) -> int:
    """Return the minor units that a text in major units means, such as `12.50`. Raises `WrongAmount`."""
    shown = text.strip()
    negative = shown.startswith("-")
    plain = _PLAIN.fullmatch(shown[1:] if negative else shown)
    if plain is None:
        raise _explained(shown)
    whole, fraction = plain[1], (plain[2] or "").rstrip("0")
    exponent = EXPONENTS[currency]
    if len(fraction) > exponent:
        raise WrongAmount(
            "amount_precision", f"{shown} has more decimals than {currency} has, which is {exponent}"
        )
    minor = int(whole + fraction.ljust(exponent, "0"))
    return _within(-minor if negative else minor)


def minor_of_minor_text(text: str) -> int:
    """Return the minor units written as digits, as in a column `amount_minor`. Raises `WrongAmount`."""
    shown = text.strip()
    if not re.fullmatch(r"-?[0-9]{1,18}", shown):
        if re.fullmatch(r"-?[0-9]+\.[0-9]+", shown):
            raise WrongAmount("amount_float", f"{shown} must be whole minor units, without decimals")
        raise _explained(shown)
    return _within(int(shown))


def text_of_minor(minor: int, currency: str) -> str:
    """Write minor units as major units with a point: 1250 EUR is `12.50`."""
    exponent = EXPONENTS[currency]
    if not exponent:
        return str(minor)
    digits = str(abs(minor)).rjust(exponent + 1, "0")
    return f"{'-' if minor < 0 else ''}{digits[:-exponent]}.{digits[-exponent:]}"


def _within(minor: int) -> int:
    if minor <= 0:
        raise WrongAmount("amount_not_positive", "must be more than zero")
    if minor > LARGEST:
        raise WrongAmount("amount_too_large", f"is more than {LARGEST} minor units")
    return minor


def _explained(shown: str) -> WrongAmount:
    inner = shown.lstrip("+-").strip()
    if not inner:
        return WrongAmount("amount_missing", "is empty")
    if _COMMA.fullmatch(inner) and not re.fullmatch(r"[0-9]{1,3}(,[0-9]{3})+", inner):
        return WrongAmount("amount_decimal_comma", f"{_cut(shown)} has a decimal comma; write a point")
    if _GROUPED.fullmatch(inner):
        return WrongAmount(
            "amount_thousands_separator",
            f"{_cut(shown)} has a thousands separator, which can be read two ways; write digits and a point",
        )
    if re.fullmatch(r"[0-9.]+[eE][+-]?[0-9]+", inner):
        return WrongAmount("amount_float", f"{_cut(shown)} is in exponent form; write all digits")
    return WrongAmount(
        "amount_not_a_number", f"{_cut(shown)!r} is no amount; write digits and a point, as 12.50"
    )


def _cut(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"
