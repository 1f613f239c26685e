"""Body models, joint sets by name, joint regressors."""
