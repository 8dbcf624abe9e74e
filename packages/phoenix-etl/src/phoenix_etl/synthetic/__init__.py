"""A simulated market, written as dump files with known truth beside them."""

from __future__ import annotations

from phoenix_etl.synthetic.errors import SyntheticError
from phoenix_etl.synthetic.listing import LISTINGS
from phoenix_etl.synthetic.market import DumpFile, SyntheticMarket, write_market

__all__ = ["LISTINGS", "DumpFile", "SyntheticError", "SyntheticMarket", "write_market"]
