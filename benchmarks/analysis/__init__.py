"""How fast attribution and the fit of models are beside the plain way."""
