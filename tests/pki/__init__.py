"""Vendors of hardware that the tests own: PKIs like AMD's and AWS's, and evidence under them."""
