"""What a venue's answer means, code by code: refused for certain, or nobody knows.

What is not listed is judged by the kind of error: see `meaning`. Sources: the error lists of
Binance USD-M ("Error Codes", "General Info": three meanings of 503), Bybit V5 ("Error Codes") and
Kraken ("Errors").
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

UNKNOWN = "unknown"
"""Stands in the tables where a request may have been carried out."""

BINANCE = {
    "-1000": UNKNOWN,
    "-1001": UNKNOWN,
    "-1006": UNKNOWN,
    "-1007": UNKNOWN,
    "-1002": "keys",
    "-1022": "keys",
    "-2014": "keys",
    "-2015": "keys",
    "-1003": "too_often",
    "-1008": "too_often",
    "-1015": "too_often",
    "-1021": "clock",
    "-5028": "clock",
    "-1111": "too_precise",
    "-4014": "too_precise",
    "-4023": "too_precise",
    "-1121": "not_trading",
    "-4140": "not_trading",
    "-4141": "not_trading",
    "-2011": "no_such_order",
    "-2013": "no_such_order",
    "-2018": "no_funds",
    "-2019": "no_funds",
    "-2028": "no_funds",
    "-4118": "no_funds",
    "-2022": "no_position",
    "-2024": "no_position",
    "-4112": "no_position",
    "-2021": "would_trigger",
    "-5022": "would_take",
    "-2026": "mode",
    "-4028": "mode",
    "-4047": "mode",
    "-4048": "mode",
    "-4061": "mode",
    "-4067": "mode",
    "-4068": "mode",
    "-4120": "mode",
    "-2027": "too_large",
    "-4005": "too_large",
    "-4003": "too_small",
    "-4004": "too_small",
    "-4164": "too_small",
    "-4002": "price_out_of_band",
    "-4013": "price_out_of_band",
    "-4016": "price_out_of_band",
    "-4024": "price_out_of_band",
    "-4131": "price_out_of_band",
    "-4183": "price_out_of_band",
    "-4184": "price_out_of_band",
    "-4210": "price_out_of_band",
    "-4211": "price_out_of_band",
    "-4116": "used_id",
    "-2017": "permission",
    "-4087": "permission",
    "-4088": "permission",
    "-4192": "permission",
    "-4400": "permission",
    "-4401": "permission",
    "-4402": "permission",
}
BYBIT = {
    "10000": UNKNOWN,
    "10016": UNKNOWN,
    "10019": UNKNOWN,
    "3400214": UNKNOWN,
    "10002": "clock",
    "10003": "keys",
    "10004": "keys",
    "10007": "keys",
    "33004": "keys",
    "10005": "permission",
    "10010": "permission",
    "10024": "permission",
    "10027": "permission",
    "10029": "permission",
    "10006": "too_often",
    "10018": "too_often",
    "10429": "too_often",
    "110001": "no_such_order",
    "110008": "no_such_order",
    "110010": "no_such_order",
    "110003": "price_out_of_band",
    "30208": "price_out_of_band",
    "30209": "price_out_of_band",
    "110004": "no_funds",
    "110006": "no_funds",
    "110007": "no_funds",
    "110012": "no_funds",
    "110014": "no_funds",
    "110044": "no_funds",
    "110045": "no_funds",
    "110051": "no_funds",
    "110052": "no_funds",
    "110053": "no_funds",
    "110011": "too_large",
    "110016": "too_large",
    "110021": "too_large",
    "110090": "too_large",
    "110094": "too_small",
    "110017": "no_position",
    "110034": "no_position",
    "110022": "not_trading",
    "110023": "not_trading",
    "110063": "not_trading",
    "110066": "not_trading",
    "110074": "not_trading",
    "30228": "not_trading",
    "110015": "mode",
    "110024": "mode",
    "110028": "mode",
    "110029": "mode",
    "3400045": "mode",
    "100028": "mode",
    "110030": "used_id",
    "110072": "used_id",
    "110092": "would_trigger",
    "110093": "would_trigger",
}
KRAKEN = {
    "EService:Unavailable": UNKNOWN,
    "EService:Busy": UNKNOWN,
    "EService:Timeout": UNKNOWN,
    "EGeneral:Internal error": UNKNOWN,
    "EDatabase:Internal error": UNKNOWN,
    "EService:Deadline elapsed": "clock",
    "EGeneral:Invalid arguments:deadline": "clock",
    "EAPI:Invalid nonce": "clock",
    "EAPI:Invalid key": "keys",
    "EAPI:Invalid signature": "keys",
    "EAPI:Bad request": "keys",
    "EGeneral:Permission denied": "permission",
    "EOrder:Trading agreement required": "permission",
    "EAPI:Rate limit exceeded": "too_often",
    "EOrder:Rate limit exceeded": "too_often",
    "EOrder:Orders limit exceeded": "too_often",
    "EGeneral:Too many requests": "too_often",
    "EGeneral:Temporary lockout": "too_often",
    "EService:Throttled": "too_often",
    "EOrder:Insufficient funds": "no_funds",
    "EOrder:Insufficient margin": "no_funds",
    "EOrder:Order minimum not met": "too_small",
    "EOrder:Cost minimum not met": "too_small",
    "EGeneral:Invalid arguments:volume": "too_small",
    "EOrder:Positions limit exceeded": "too_large",
    "EOrder:Unknown order": "no_such_order",
    "EOrder:Invalid order": "no_such_order",
    "EOrder:Invalid price": "too_precise",
    "EGeneral:Invalid arguments:price": "too_precise",
    "EOrder:Tick size check failed": "too_precise",
    "EOrder:Post only order": "would_take",
    "EOrder:Reduce only": "no_position",
    "EService:Market in": "not_trading",
    "EQuery:Unknown asset pair": "not_trading",
    "EQuery:Invalid asset pair": "not_trading",
    "EGeneral:Invalid arguments:cl_ord_id": "used_id",
    "EOrder:Invalid client order id": "used_id",
}
TABLES = {"binance": BINANCE, "bybit": BYBIT, "kraken": KRAKEN}
TEXTS: dict[str, tuple[tuple[str, str], ...]] = {
    # Binance, status 503: the words tell the three meanings apart, the code does not
    "binance": (
        ("unknown error", UNKNOWN),
        ("service unavailable", "other"),
        ("internal error; unable to process", "other"),
        ("percent_price", "price_out_of_band"),
        ("price_filter", "too_precise"),
        ("lot_size", "too_precise"),
        ("notional", "too_small"),
    ),
    "bybit": (
        ("position idx not match", "mode"),
        ("access too frequent", "too_often"),
    ),
    "kraken": (),
}
"""Words that say more than the code they come with, which is then a general one."""
_GENERAL = {"binance": {"-1000", "-1001", "-1008", "-1013", "-2010"}, "bybit": {"10001", ""}}


class Answer(NamedTuple):
    """What came back of a request, if anything did."""

    status: int
    code: str
    """The venue's own; empty: none is in it."""
    text: str


def code_of(venue: str, told: Any) -> str:
    """Return the venue's error code in the JSON of an answer; empty where it names none.

    >>> code_of("bybit", {"retCode": 0}), code_of("kraken", {"error": ["EAPI:Invalid key"]})
    ('', 'EAPI:Invalid key')
    """
    if not isinstance(told, dict):
        return ""
    if venue == "kraken":
        errors = told.get("error") or [""]
        return str(errors[0] if isinstance(errors, list) else errors)
    code = str(told.get("code" if venue == "binance" else "retCode", "0"))
    return code if re.fullmatch(r"-?[1-9]\d*", code) and code != "200" else ""


def meaning(venue: str, answer: Answer, *, sure: bool) -> str:
    """Return one of `words.REFUSALS`, or `UNKNOWN`.

    Parameters
    ----------
    venue : str
        Whose answer it is.
    answer : Answer
        What it answered.
    sure : bool
        Whether ccxt takes it for a definite error, for codes that are not listed.

    Examples
    --------
    >>> meaning("binance", Answer(400, "-2019", "Margin is insufficient."), sure=True)
    'no_funds'
    >>> meaning("binance", Answer(503, "-1000", "Unknown error, please check ..."), sure=True)
    'unknown'
    """
    if answer.status in (418, 429):
        return "too_often"
    if not answer.code or answer.code in _GENERAL.get(venue, ()):
        for words, reason in TEXTS[venue]:
            if words in answer.text.lower():
                return reason
    listed = _listed(venue, answer.code)
    if listed:
        return listed
    # Binance: 4XX are "malformed requests; the issue is on the sender's side", 408 is a timeout
    sure = sure or (venue == "binance" and 400 <= answer.status < 500 and answer.status != 408)
    return "other" if sure and answer.code and answer.status < 500 else UNKNOWN


def _listed(venue: str, code: str) -> str:
    table = TABLES[venue]
    if code in table or venue != "kraken":
        return table.get(code, "")
    fitting = [known for known in table if code.startswith(known)]
    return table[max(fitting, key=len)] if fitting else ""
