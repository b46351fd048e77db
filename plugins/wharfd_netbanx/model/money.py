"""Money as whole minor units: exponents by ISO 4217, exact conversion, and an honest report where it is not.

Floats appear here and nowhere else, and only as something an import is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

# PostgreSQL's bigint holds every amount.
MAX_MINOR = 2**63 - 1
# Above this, neighbouring whole numbers share one float.
_MAX_EXACT_FLOAT = 2**53
# Wide enough for any sum of money; the process-wide context is never touched.
_CONTEXT = Context(prec=40, rounding=ROUND_HALF_EVEN)

_TWO_DIGITS = """
AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE
CHF CHW CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD
HNL HRK HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP
MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR
SDG SEK SGD SHP SLE SLL SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED
VES WST XCD XCG YER ZAR ZMW ZWG ZWL
"""
_NO_DIGITS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DIGITS = "BHD IQD JOD KWD LYD OMN TND"
_FOUR_DIGITS = "CLF UYW"

_EXPONENTS: dict[str, int] = {
    code: digits
    for digits, codes in ((0, _NO_DIGITS), (2, _TWO_DIGITS), (3, _THREE_DIGITS), (4, _FOUR_DIGITS))
    for code in codes.split()
}


@dataclass(frozen=True)
class Conversion:
    """An amount in minor units, and whether it is exactly what was given.

    `remark` says why not; it is empty for an exact one.
    """

    amount: int
    currency: str
    exact: bool
    remark: str = ""


def exponent(currency: str) -> int:
    """Return how many decimal places `currency` has; raises ValueError for one that ISO 4217 lacks."""
    try:
        return _EXPONENTS[currency.upper()]
    except KeyError:
        raise ValueError(f"currency {currency!r} is not in ISO 4217") from None


def to_minor(value: Decimal | int | str, currency: str) -> int:
    """Return `value` (in major units) as minor units; raises ValueError unless that is exact.

    >>> to_minor("10.50", "EUR"), to_minor(500, "JPY")
    (1050, 500)
    """
    conversion = convert(value, currency)
    if not conversion.exact:
        raise ValueError(f"{value} {conversion.currency} {conversion.remark}")
    return conversion.amount


def convert(value: Decimal | int | float | str, currency: str) -> Conversion:
    """Convert major units to minor ones, rounding half to even, and report whether that was exact.

    A float counts as the shortest decimal that reads back as itself: 10.1 is exact, 0.1 + 0.2 is not.
    Raises ValueError for what is no amount at all (NaN, infinity, text, too large).
    """
    digits = exponent(currency)
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is no amount")  # noqa: TRY004 - one exception for every bad amount
    try:
        given = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    except (InvalidOperation, ValueError, TypeError):
        raise ValueError(f"{value!r} is no amount") from None
    # The adjusted exponent bounds the size before any arithmetic: 1e999999 must not cost memory.
    if not given.is_finite() or given.adjusted() > 18:
        raise ValueError(f"{value!r} is no amount that can be kept")
    scaled = given.scaleb(digits, _CONTEXT)
    rounded = scaled.to_integral_value(context=_CONTEXT)
    amount = int(rounded)
    if abs(amount) > MAX_MINOR:
        raise ValueError(f"{value!r} is no amount that can be kept")
    code = currency.upper()
    if rounded != scaled:
        left = (scaled - rounded).scaleb(-digits, _CONTEXT)
        return Conversion(amount, code, False, f"has more than {digits} decimals; {left:f} was rounded off")
    if isinstance(value, float) and abs(scaled) >= _MAX_EXACT_FLOAT:
        return Conversion(amount, code, False, "is too large for a float to hold to the last digit")
    return Conversion(amount, code, True)


def format_minor(amount: int, currency: str) -> str:
    """Return minor units as a plain decimal in major units, such as "10.50"."""
    digits = exponent(currency)
    return f"{Decimal(amount).scaleb(-digits, _CONTEXT):.{digits}f}"
