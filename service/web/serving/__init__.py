"""How a request is understood and its answer guarded: language, forms, limits, headers, errors."""
