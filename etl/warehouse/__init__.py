"""The tables on disk: ``delta`` writes them, ``layout`` says how, ``scan`` reads them."""
